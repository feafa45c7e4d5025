"""Methods the paper compares FUTE with; `prompts` chooses a prompt by what an LLM says about a dataset."""
