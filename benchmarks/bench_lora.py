"""Compare TuPaTE by LoRA of several black boxes that label the same texts, with and without the states that they share.

    PYTHONPATH=src python benchmarks/bench_lora.py [--texts 256] [--boxes 8]

The surrogate has SmolLM2-135M's shape and random weights; its last 6 of 30 layers are tuned. Each black box answers
with one of two words. Both sides are the project's own, take turns box by box, and must give the same bytes.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from harness import Row, finish, parser, say, wait_until_quiet
from transformers import LlamaConfig, LlamaForCausalLM
from workload import MAX_TOKENS, make_texts, make_tokenizer

from fute.config.methods import LoraSettings
from fute.config.surrogate import SurrogateSettings
from fute.embeddings.embedder import Embedder
from fute.surrogate.text2text import Pair

SHAPES = {
    "tiny": {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1},
    "smollm2": {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3},
}
LAYERS, TUNED = 30, 6
RECIPE = LoraSettings(layers=TUNED, learning_rate=2e-3, batch_size=16, min_steps=1)


def save_surrogate(size: str, folder: Path) -> Path:
    """A causal model of the shape of SmolLM2-135M with seeded random weights, and a tokenizer of invented words."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(32_128)
    config = LlamaConfig(vocab_size=len(tokenizer), num_hidden_layers=LAYERS, tie_word_embeddings=True, **SHAPES[size])
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def answers(texts: list[str], box: int) -> list[Pair]:
    """What a black box says of the texts: one of two words, drawn for each box and text."""
    drawn = random.Random(box)
    return [Pair((text,), drawn.choice(("w1", "w2"))) for text in texts]


def measure(options: argparse.Namespace, path: Path) -> list[Row]:
    settings = SurrogateSettings(family="causal", max_input_tokens=MAX_TOKENS, dtype=options.dtype)
    shared, alone = (Embedder(path, settings, RECIPE, "random weights") for _ in range(2))
    alone._method._states._remembered = None
    texts = make_texts(options.texts)
    for embedder in (shared, alone):
        embedder.embed(answers(texts[:16], box=-1))
    ours, other = [], []
    for box in range(options.boxes):
        pairs, vectors = answers(texts, box), []
        for embedder, seconds in ((shared, ours), (alone, other)):
            started = time.perf_counter()
            vectors.append(embedder.embed(pairs).vector)
            seconds.append(time.perf_counter() - started)
        if not np.array_equal(*vectors):
            raise AssertionError(f"black box {box}: its vector with shared states is another one")
        say(f"LoRA, black box {box + 1} of {options.boxes}: shared {ours[-1]:.1f} s, alone {other[-1]:.1f} s")
    return [
        Row(
            name=f"TuPaTE by LoRA, {options.boxes} black boxes",
            size=f"{options.texts} texts, one epoch, the last {TUNED} of {LAYERS} layers of SmolLM2-135M's shape",
            ours="states below shared",
            other="states below computed for each",
            ours_seconds=sum(ours),
            other_seconds=sum(other),
            ratio=sum(other) / sum(ours),
            error=0.0,
            note="error: none, the bytes are the same",
        )
    ]


def main() -> None:
    options_of = parser(__doc__.splitlines()[0])
    options_of.add_argument("--texts", type=int, default=256)
    options_of.add_argument("--boxes", type=int, default=8)
    options_of.add_argument("--model", choices=tuple(SHAPES), default="smollm2", help="tiny: to try the script")
    options_of.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="type of the frozen weights"
    )
    options = options_of.parse_args()
    wait_until_quiet(options.allow_load)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options, save_surrogate(options.model, Path(folder)))
    finish(rows, options.rows)


if __name__ == "__main__":
    main()
