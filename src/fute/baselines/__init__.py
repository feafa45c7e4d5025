"""Methods that the paper compares FUTE with; `prompts` holds those that choose a prompt from an LLM's outputs."""
