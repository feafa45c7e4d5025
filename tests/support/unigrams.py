"""A tokenizer of unigrams, as T5 has it: its marks are pieces like all others."""

from pathlib import Path

from tokenizers import Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

END = 1
"""Id of the end mark."""


def save_unigrams(folder: Path) -> Path:
    """Save a tokenizer whose pieces are its marks and a few letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), *((letter, -2.0) for letter in "abdgos</> "), ("<unk>", -9.0)]
    unigrams = Tokenizer(models.Unigram(pieces, unk_id=len(pieces) - 1))
    unigrams.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", END)]
    )
    names = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=unigrams, **names).save_pretrained(folder)
    return folder
