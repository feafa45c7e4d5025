"""Workload of the surrogate benchmarks: a T5 with random weights, and texts of CrossFit-like length."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from fute.config.surrogate import SurrogateSettings
from fute.surrogate.text2text import Batch, Pair, Surrogate, collate, encode_pairs

SPECIAL = ("<pad>", "</s>", "<unk>")
MAX_TOKENS = 128
SETTINGS = SurrogateSettings(family="encoder-decoder", max_input_tokens=MAX_TOKENS)
WIDTHS = {
    "tiny": {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4},
    "small": {},  # T5Config's defaults: 60.5 M parameters
    "base": {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
}


def make_surrogate(size: str = "small", device: str = "cpu") -> Surrogate:
    """Make a T5 of the shape of t5-small or t5-base with seeded random weights, and a tokenizer of invented words."""
    torch.manual_seed(0)
    config = T5Config(decoder_start_token_id=0, **WIDTHS[size])
    tokenizer = make_tokenizer(config.vocab_size)
    return Surrogate(T5ForConditionalGeneration(config).eval().to(device), tokenizer, SETTINGS, frozen=False)


def make_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """Make a tokenizer of so many tokens: invented words, and an end mark that it puts after each text."""
    words = [f"w{i}" for i in range(size - len(SPECIAL))]
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def save(surrogate: Surrogate, path: Path) -> Path:
    """Save as a snapshot folder, which `Embedder` loads; return its path."""
    surrogate.model.save_pretrained(path)
    surrogate.tokenizer.save_pretrained(path)
    return path


def make_texts(count: int) -> list[str]:
    """Make seeded texts of 4 to 128 tokens with the end mark, mean 39, most of them short (log-normal)."""
    drawn = random.Random(0)
    return [
        " ".join(_words(drawn, min(MAX_TOKENS, max(4, round(drawn.lognormvariate(3.4, 0.8)))) - 1))
        for _ in range(count)
    ]


def make_pairs(texts: list[str], prompt: int = 0) -> list[Pair]:
    """Pair the texts with labels of a prompt: three per prompt, of 2 to 4 tokens with the end mark."""
    drawn = random.Random(f"prompt {prompt}")
    labels = [" ".join(_words(drawn, length)) for length in (1, 2, 3)]
    return [Pair((text,), drawn.choice(labels)) for text in texts]


def make_learnable_pairs(texts: list[str]) -> list[Pair]:
    """Pairs whose label says which of two words the text begins with; each label has one token and the end mark."""
    return [Pair((f"w{1 + i % 2} {text}",), f"w{3 + i % 2}") for i, text in enumerate(texts)]


def make_batches(surrogate: Surrogate, pairs: list[Pair], size: int) -> list[Batch]:
    """Make batches of texts of similar length, as in TaskEmb's Fisher pass."""
    ordered = sorted(encode_pairs(surrogate, pairs), key=lambda example: (len(example.input_ids), example.index))
    return [collate(surrogate, ordered[i : i + size]) for i in range(0, len(ordered), size)]


def _words(drawn: random.Random, count: int) -> list[str]:
    return [f"w{drawn.randrange(32_000)}" for _ in range(count)]
