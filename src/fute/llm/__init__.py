"""Black-box LLMs: engines behind one protocol, and class scores from verbalizers."""
