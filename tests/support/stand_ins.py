"""Tiny random surrogates with a word-level tokenizer: stand-ins for T5 and SmolLM2 in unit tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from fute.surrogate.text2text import Pair

FAMILIES = ("encoder-decoder", "causal")
WORDS = [
    *("the", "film", "was", "a", "great", "dull", "long", "short", "story", "and", "i", "liked", "hated"),
    *("it", "good", "bad", "positive", "negative", "answer"),
]


def save_stand_in(path: Path, family: str) -> Path:
    """A tiny random model with a word-level tokenizer, as a snapshot folder."""
    vocabulary = {w: i for i, w in enumerate(["<pad>", "</s>", "<unk>", "Answer", ":", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if family == "encoder-decoder":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
        )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(path)
    torch.manual_seed(0)
    if family == "encoder-decoder":
        config = T5Config(
            vocab_size=len(vocabulary),
            d_model=16,
            d_kv=4,
            d_ff=24,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
            dropout_rate=0.1,
        )
        model = T5ForConditionalGeneration(config)
    else:
        config = LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            initializer_range=0.3,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
        )
        model = LlamaForCausalLM(config)
    model.save_pretrained(path)
    return path


def pairs(seed: int, n: int = 24) -> list[Pair]:
    """Random texts of two to eight words, with targets in turn."""
    generator = np.random.default_rng(seed)
    texts = [" ".join(generator.choice(WORDS, generator.integers(2, 9))) for _ in range(n)]
    return [Pair((text,), "positive" if i % 2 else "negative") for i, text in enumerate(texts)]
