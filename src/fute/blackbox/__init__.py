"""Black boxes of the language-model experiment: fine-tuned models, transfer between them, and any Python function."""
