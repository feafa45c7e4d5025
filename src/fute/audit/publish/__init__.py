"""Publishing an audit: an RO-Crate, an HTML page, receipts."""
