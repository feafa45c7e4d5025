"""Fine-tune a black box on a dataset's rows, with the training loop that all of the project uses."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel

from fute.artifacts import content_key
from fute.blackbox.encoding import Encoded, collate, encode_rows
from fute.blackbox.heads import BlackBox, BlackBoxError
from fute.config.finetuning import FinetuneSettings, TrainingSettings
from fute.data.rows import Row
from fute.surrogate.checkpoint import Checkpoint
from fute.surrogate.training import Progress, TrainingLog, count_steps, train


def rows_to_learn(rows: Sequence[Row], settings: TrainingSettings, seed: int) -> list[Row]:
    """All rows; with `steps`, as many as these steps take: in a seeded order, starting over after the last row."""
    if settings.steps is None:
        return list(rows)
    order = list(rows)
    random.Random(seed).shuffle(order)
    return list(itertools.islice(itertools.cycle(order), settings.steps * settings.batch_size))


def examples_to_learn(box: BlackBox, rows: Sequence[Row], settings: TrainingSettings, seed: int) -> list[Encoded]:
    """`rows_to_learn` as token ids with targets.

    Raises BlackBoxError if there are no rows or too few steps, BadRow for a row without a usable target.
    """
    if not rows:
        raise BlackBoxError(f"{box.task.dataset}: there are no rows to learn from; build the dataset again")
    examples = encode_rows(box, rows_to_learn(rows, settings, seed))
    epochs = settings.epochs or 1
    steps = count_steps(len(examples), epochs=epochs, batch_size=settings.batch_size)
    if steps < settings.min_steps:
        raise BlackBoxError(
            f"{box.task.dataset}: {len(examples)} rows in {epochs} epoch(s) of batches of {settings.batch_size} are "
            f"{steps} steps, fewer than min_steps={settings.min_steps}; use more epochs, or give steps"
        )
    return examples


def finetune(
    box: BlackBox, rows: Sequence[Row], settings: FinetuneSettings, *, seed: int, accelerator: Accelerator,
    progress: Progress | None = None, checkpoint: Path | None = None, start: Iterable[str] = (),
) -> TrainingLog:  # fmt: skip
    """Train a black box in place on labelled rows, and leave it in eval mode.

    checkpoint: file that holds the training's state; a training that was killed continues from it. The caller
    removes it. start: hashes of what the initial weights come from; a state made from other weights is not used.
    Raises the errors of `examples_to_learn` and `train`.
    """
    examples = examples_to_learn(box, rows, settings, seed)
    parameters = trained_parameters(box.model, settings.layers)
    kept = None
    if checkpoint:
        texts = [(e.input_ids, e.target) for e in examples]
        kept = Checkpoint(checkpoint, content_key([list(start), settings.model_dump(), seed, texts]))
    box.model.train(settings.dropout)
    log = train(
        lambda batch: example_losses(box, batch),
        parameters,
        examples,
        **settings.optimiser(),
        order_seed=seed,
        progress=progress,
        accelerator=accelerator,
        checkpoint=kept,
    )
    box.model.eval()
    return log


def example_losses(box: BlackBox, batch: Sequence[Encoded]) -> Tensor:
    """Loss of each text, (B,): cross-entropy, squared error, or mean cross-entropy of a span's two ends.

    It is for training and gradients, so it is computed in fp32.
    """
    logits = head_logits(box, batch)
    targets = torch.tensor([text.target for text in batch], device=logits.device)
    if box.task.task == "classification":
        return F.cross_entropy(logits, targets, reduction="none")
    if box.task.task == "regression":
        return (logits[:, 0] - targets.float()) ** 2
    return sum(F.cross_entropy(logits[:, i], targets[:, i], reduction="none") for i in (0, 1)) / 2


def head_logits(box: BlackBox, batch: Sequence[Encoded], *, autocast: bool = False) -> Tensor:
    """Logits as fp32: (B, classes), (B, 1), or for spans (B, 2, T), minus infinity on padding.

    autocast: multiply matrices in bf16; for models that are not being trained.

    A decoder's logits are those at the last token of each text, whatever the padding token is.
    """
    inputs = collate(box, batch)
    model, lengths = box.model, inputs["attention_mask"].sum(1)
    with _autocast(box.device, autocast):
        if box.task.task == "span":
            outputs = model(**inputs)
            logits = torch.stack([outputs.start_logits, outputs.end_logits], 1)
        elif box.family == "decoder":
            states = model.base_model(**inputs, use_cache=False).last_hidden_state
            logits = model.score(states[torch.arange(len(batch), device=box.device), lengths - 1])
        else:
            logits = model(**inputs).logits
    logits = logits.float()
    if box.task.task == "span":  # a loss over padding would depend on which texts share a batch
        logits = logits.masked_fill(inputs["attention_mask"][:, None] == 0, float("-inf"))
    return logits


def _autocast(device: torch.device, wanted: bool) -> contextlib.AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16) if wanted else contextlib.nullcontext()


def trained_parameters(model: PreTrainedModel, layers: int | None) -> list[tuple[str, nn.Parameter]]:
    """Parameters of the last `layers` blocks and of everything above them; for None every parameter.

    The others are frozen. The blocks of an encoder-decoder model are those of its decoder.
    Raises BlackBoxError if the model has fewer blocks.
    """
    named = list(model.named_parameters())
    if layers is None:
        model.requires_grad_(True)
        return named
    stack = blocks(model)
    if layers > len(stack):
        raise BlackBoxError(f"layers is {layers}, but {type(model).__name__} has {len(stack)} blocks; lower layers")
    first = next(stack[-layers].parameters())
    start = next(index for index, (_, parameter) in enumerate(named) if parameter is first)
    for index, (_, parameter) in enumerate(named):
        parameter.requires_grad_(index >= start)
    return named[start:]


def blocks(model: PreTrainedModel) -> nn.ModuleList:
    """Layers of a model (encoder-decoder: of its decoder). Raises BlackBoxError if the model has no list of them."""
    config = model.config
    depth = getattr(config, "num_decoder_layers", None) or config.num_hidden_layers
    lists = {name: m for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth}
    # a block may hold a list that is as long as the model is deep: each of T5's decoder has one of three parts
    stacks = [m for name, m in lists.items() if not any(name.startswith(f"{outer}.") for outer in lists)]
    if not stacks:
        raise BlackBoxError(
            f"no list of {depth} blocks in {type(model).__name__}: its layers cannot be told apart; leave out what "
            "needs them (a recipe's layers; taskemb and tupate in lm.baselines.methods)"
        )
    return stacks[-1]
