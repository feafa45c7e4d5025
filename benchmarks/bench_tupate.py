"""Compare TuPaTE of one set of texts with the labels of several prompts with a plain Hugging Face loop.

    PYTHONPATH=src python benchmarks/bench_tupate.py [--texts 256] [--prompts 13]

Both sides use the same batches in the same order, learning rate, clipping and optimiser, in fp32, and take turns
prompt by prompt. The plain loop pads to 128 tokens and runs the frozen encoder in every step.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from harness import Row, finish, parser, say, wait_until_quiet
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput
from workload import MAX_TOKENS, SETTINGS, make_pairs, make_surrogate, make_texts, save

from fute.config.methods import TupateSettings
from fute.embeddings.embedder import Embedder
from fute.surrogate.prefix import PrefixShape, initial_prefix
from fute.surrogate.text2text import Pair, encode_pairs
from fute.surrogate.training import epoch_batches, epoch_generator

RECIPE = TupateSettings(batch_size=128, min_steps=1, min_relative_distance=0)  # random weights learn nothing
REQUIRED = {3: ">= 5", 13: ">= 10"}


class Plain:
    """Prefix tuning of a T5 decoder, written plainly with transformers."""

    def __init__(self, path: Path, dtype: str) -> None:
        model = AutoModelForSeq2SeqLM.from_pretrained(path, local_files_only=True, dtype=getattr(torch, dtype))
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)

    def embed(self, batches: list[list[Pair]]) -> np.ndarray:
        start = initial_prefix(PrefixShape.of(self.model.config), length=RECIPE.length, seed=RECIPE.init_seed)
        prefix = nn.Parameter(start)
        optimizer = torch.optim.AdamW([prefix], RECIPE.learning_rate, weight_decay=RECIPE.weight_decay, fused=True)
        total, rising = len(batches), math.ceil(RECIPE.warmup * len(batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda k: min((k + 1) / rising, (total - k) / (total - rising))
        )
        for batch in batches:
            optimizer.zero_grad()
            self._loss(prefix, batch).backward()
            nn.utils.clip_grad_norm_([prefix], RECIPE.clip)
            optimizer.step()
            schedule.step()
        return prefix.detach().mean(0).flatten().numpy()

    def _loss(self, prefix: Tensor, batch: list[Pair]) -> Tensor:
        """Mean of -log P over the target tokens."""
        texts, targets = [pair.x[0] for pair in batch], [pair.y for pair in batch]
        inputs = self.tokenizer(
            texts, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
        )
        labels = self.tokenizer(targets, padding=True, return_tensors="pt")
        labels = labels["input_ids"].masked_fill(labels["attention_mask"] == 0, -100)
        with torch.no_grad():
            states = self.model.encoder(inputs["input_ids"], inputs["attention_mask"]).last_hidden_state
        cache = DynamicCache()
        for layer, key_value in enumerate(prefix.to(self.model.dtype)):
            keys, values = key_value[:, None].expand(-1, len(batch), -1, -1, -1)
            cache.update(keys, values, layer)
        return self.model(
            encoder_outputs=BaseModelOutput(states),
            attention_mask=inputs["attention_mask"],
            labels=labels,
            past_key_values=EncoderDecoderCache(cache, DynamicCache()),
            use_cache=True,
        ).loss


def measure(options: argparse.Namespace, path: Path) -> list[Row]:
    plain = Plain(path, options.dtype)
    settings = SETTINGS.model_copy(update={"dtype": options.dtype})
    embedder = Embedder(path, settings, RECIPE, "random weights")
    texts = make_texts(options.texts)
    # other texts than the measured ones, whose kept states would save the first prompt its encoder pass
    warm = make_pairs(make_texts(32)[::-1], prompt=-1)
    embedder.embed(warm)
    plain.embed([warm[:16]] * 2)
    ours, other, errors = [], [], []
    for prompt in range(options.prompts):
        pairs = make_pairs(texts, prompt)
        started = time.perf_counter()
        embedding = embedder.embed(pairs)
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        expected = plain.embed(same_batches(embedder, pairs))
        other.append(time.perf_counter() - started)
        # distance moved by training, since both start from the same prefix
        moved = np.linalg.norm(expected - embedding.init)
        errors.append(float(np.linalg.norm(embedding.vector - expected) / moved))
        say(f"TuPaTE, prompt {prompt + 1} of {options.prompts}: ours {ours[-1]:.1f} s, plain {other[-1]:.1f} s")
    steps = math.ceil(options.texts / RECIPE.batch_size)
    return [
        Row(
            name=f"TuPaTE, {count} prompts",
            size=f"{options.texts} texts a prompt, {steps} steps of {RECIPE.batch_size}, T5-{options.model}'s shape",
            ours="encoder states computed once",
            other=f"plain loop, padded to {MAX_TOKENS}",
            ours_seconds=sum(ours[:count]),
            other_seconds=sum(other[:count]),
            ratio=sum(other[:count]) / sum(ours[:count]),
            required=required,
            error=max(errors[:count]),
            note="error: of how far the vector moved",
        )
        for count, required in REQUIRED.items()
        if count <= options.prompts
    ]


def same_batches(embedder: Embedder, pairs: list[Pair]) -> list[list[Pair]]:
    """Put the pairs into the batches and the order in which the embedder trains."""
    generator = epoch_generator(RECIPE.order_seeds[0], 1)
    examples = encode_pairs(embedder.surrogate, pairs)
    batches = epoch_batches(examples, RECIPE.batch_size, generator, RECIPE.bucket_batches)
    return [[pairs[example.index] for example in batch] for batch in batches]


def main() -> None:
    options_of = parser(__doc__.splitlines()[0])
    options_of.add_argument("--texts", type=int, default=512)
    options_of.add_argument("--prompts", type=int, default=13)
    options_of.add_argument(
        "--model", choices=("tiny", "small", "base"), default="small", help="tiny: to try the script"
    )
    options_of.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="type of the frozen weights"
    )
    options = options_of.parse_args()
    wait_until_quiet(options.allow_load)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options, save(make_surrogate(options.model), Path(folder)))
    finish(rows, options.rows)


if __name__ == "__main__":
    main()
