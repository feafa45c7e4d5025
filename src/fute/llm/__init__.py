"""Black-box LLMs: engines with one protocol, and class scores from verbalizers."""
