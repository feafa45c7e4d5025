"""The tokenizer of a model folder, for texts that people wrote."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a folder's tokenizer, without the network.

    A mark of the model inside a text, such as `</s>` or `<|endoftext|>`, is text: it must not end or split what the
    model reads. Marks that the tokenizer adds itself are not affected. Texts are cut on the right.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.split_special_tokens = True
    tokenizer.truncation_side = "right"
    return tokenizer
