"""What an audit hands on: an RO-Crate, a page for a browser, receipts."""
