"""The tokenizer of a model folder, for texts that people wrote."""

from __future__ import annotations

import re
from pathlib import Path

from tokenizers import Regex, normalizers
from tokenizers.models import Unigram
from transformers import AutoTokenizer, PreTrainedTokenizerBase


def own_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a folder's tokenizer as it is, without the network."""
    # transformers prefers Mistral's own `tekken.json`, where the package mistral-common is installed (as beside vLLM):
    # a tokenizer without chat template that cannot read a mark as text. The folders hold tokenizer.json, too.
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, mistral_format=False)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a folder's tokenizer, without the network.

    A mark of the model inside a text, such as `</s>` or `<|endoftext|>`, is text: it must not end or split what the
    model reads. Where marks are pieces of the vocabulary like all others (T5's unigrams), one in a text is a blank.
    Marks that the tokenizer adds itself are not affected. Texts are cut on the right.
    """
    tokenizer = own_tokenizer(folder)
    tokenizer.split_special_tokens = True
    tokenizer.truncation_side = "right"
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and isinstance(backend.model, Unigram):
        marks = Regex("|".join(map(re.escape, tokenizer.all_special_tokens)))
        own = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = normalizers.Sequence([normalizers.Replace(marks, " "), *own])
    return tokenizer
