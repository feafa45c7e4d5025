"""Load a language model from a folder and put a head for one task on it: classes, a number, or a span of its input.

This works for any encoder (BERT, MiniLM), decoder (GPT-2, Llama) or encoder-decoder (T5) that transformers has such
heads for. Transfer passes on the weights below the head; each dataset gets a new, random head.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fute.blackbox.folders import folder_of
from fute.pretrained import usable_positions
from fute.specs.finetuning import TaskSettings
from fute.tokenizer import load_tokenizer

Family = Literal["encoder", "decoder", "encoder-decoder"]

AUTHORS_GPT2_PAD = "*"
"""Padding token of GPT-2 in the authors' code, id 9. Padding is on the right and masked, so its id has no effect."""

TASK_FILE = "task.json"


class BlackBoxError(ValueError):
    """A model, tokenizer or dataset that do not fit together; the message says which, and what to do."""


@dataclass
class BlackBox:
    """A model with its head, on a device. inputs: number of segments of each text of its dataset, one or two."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: TaskSettings
    inputs: int
    max_tokens: int

    @property
    def family(self) -> Family:
        return family_of(self.model.config)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def pad_id(self) -> int:
        return self.model.config.pad_token_id


def family_of(config: PretrainedConfig) -> Family:
    """Family of a model: an encoder if transformers has a masked-word head for it; else, without encoder, a decoder."""
    if config.is_encoder_decoder:
        return "encoder-decoder"
    return "encoder" if type(config) in MODEL_FOR_MASKED_LM_MAPPING else "decoder"


def padding_id(folder: Path, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the padding token: the tokenizer's, for GPT-2 without one the authors' `*`, else the end-of-text token.

    Only the model's config holds it: as a special token of the tokenizer, `*` would cut words at every star.
    Raises BlackBoxError if the tokenizer has none of these.
    """
    if tokenizer.pad_token_id is not None:
        return tokenizer.pad_token_id
    if config.model_type == "gpt2" and AUTHORS_GPT2_PAD in (vocabulary := tokenizer.get_vocab()):
        return vocabulary[AUTHORS_GPT2_PAD]
    if tokenizer.eos_token_id is None:
        raise BlackBoxError(
            f"the tokenizer of {folder.name} has neither a padding nor an end-of-text token; set pad_token in its "
            "tokenizer_config.json"
        )
    return tokenizer.eos_token_id


class Pretrained:
    """A model folder that many runs start from: its tokenizer, and its tensors below any head, in fp32 on the CPU."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer = load_tokenizer(folder)
        model, info = AutoModel.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
        missing = {name for name in info["missing_keys"] if "pooler" not in name}
        if missing:
            raise BlackBoxError(
                f"{folder.name} holds no weights for {sorted(missing)[0]} and {len(missing) - 1} others of "
                f"{type(model).__name__}; fetch the model again"
            )
        # a pooler without weights in the folder is drawn together with the head
        self.tensors = {name: t for name, t in model.state_dict().items() if name not in info["missing_keys"]}

    def with_head(
        self, task: TaskSettings, *, inputs: int, max_tokens: int, seed: int, source: BlackBox | None = None,
        keep_head: bool = False,
    ) -> BlackBox:  # fmt: skip
        """These weights under a head drawn from `seed`; the same bytes on every machine.

        source: a fine-tuned model of the same family; its tensors below the head replace these weights.
        keep_head: also take the source's head, if it has the same tensors in the same shapes.
        Raises BlackBoxError for more `max_tokens` than the model can read, and for spans without a fast tokenizer.
        """
        if task.task == "span" and not self.tokenizer.is_fast:
            raise BlackBoxError(
                f"the tokenizer of {self.folder.name} does not say which characters a token covers, which extractive "
                "QA needs; use a model with a tokenizer.json"
            )
        config = _config(self.folder, task, self.tokenizer)
        with torch.random.fork_rng(devices=[]):
            model = _task_class(task).from_config(config).float()
        if (positions := usable_positions(model)) is not None and max_tokens > positions:
            raise BlackBoxError(
                f"max_tokens is {max_tokens}, but {self.folder.name} has {positions} positions for a text; lower "
                "max_tokens"
            )
        below = self.tensors | (encoder_tensors(source.model, self.tensors) if source else {})
        load_encoder(model, below)
        head = head_parameters(model, below)
        kept = {name: p for name, p in source.model.named_parameters() if name in head} if source and keep_head else {}
        if {n: p.shape for n, p in kept.items()} == {n: p.shape for n, p in head.items()}:
            _copy(head, kept)
        else:
            draw_head(head, config, seed)
        return BlackBox(model.eval(), self.tokenizer, task, inputs, max_tokens)


def _config(folder: Path, task: TaskSettings, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    names = {"classification": task.classes, "regression": ("value",), "span": ("start", "end")}[task.task]
    config = AutoConfig.from_pretrained(
        folder,
        local_files_only=True,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        problem_type="regression" if task.task == "regression" else None,
    )
    config.pad_token_id = padding_id(folder, config, tokenizer)
    return config


def _task_class(task: TaskSettings) -> type:
    return AutoModelForQuestionAnswering if task.task == "span" else AutoModelForSequenceClassification


def encoder_tensors(model: PreTrainedModel, names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors below a model's head that are in `names`, under names without the prefix of the model's class."""
    return {name: tensor for name, tensor in model.base_model.state_dict().items() if name in names}


def load_encoder(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> None:
    """Load tensors below a model's head. Raises BlackBoxError if the model has no place for one, except a pooler."""
    result = model.base_model.load_state_dict(dict(tensors), strict=False)
    if lost := [name for name in result.unexpected_keys if "pooler" not in name]:
        raise BlackBoxError(f"{type(model).__name__} has no place for {lost[0]} and {len(lost) - 1} other tensors")


def head_parameters(model: PreTrainedModel, below: Mapping[str, Tensor]) -> dict[str, nn.Parameter]:
    """Parameters that no tensor of `below` fills: those of the head, by their names in the model."""
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    return {name: p for name, p in model.named_parameters() if name.removeprefix(prefix) not in below}


@torch.no_grad()
def draw_head(head: Mapping[str, nn.Parameter], config: PretrainedConfig, seed: int) -> None:
    """Draw a head's matrices with the model family's standard deviation; vectors keep their constant values.

    The numbers come from numpy, which gives the same ones on every processor; torch's normal draws differ.
    """
    generator = np.random.default_rng(seed)
    deviation = getattr(config, "initializer_range", None) or config.hidden_size**-0.5  # the latter is T5's
    for _, parameter in sorted(head.items()):
        if parameter.ndim > 1:
            drawn = generator.normal(0.0, deviation, tuple(parameter.shape)).astype(np.float32)
            parameter.copy_(torch.from_numpy(drawn))


@torch.no_grad()
def _copy(to: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    for name, parameter in to.items():
        parameter.copy_(values[name])


def save_black_box(box: BlackBox, folder: Path) -> None:
    """Write safetensors, config, tokenizer files and `task.json`; equal models give equal bytes."""
    box.model.save_pretrained(folder)
    box.tokenizer.save_pretrained(folder)
    record = {"task": box.task.model_dump(mode="json"), "inputs": box.inputs, "max_tokens": box.max_tokens}
    (folder / TASK_FILE).write_text(json.dumps(record, sort_keys=True, indent=1) + "\n", encoding="utf8")


def load_black_box(folder: Path) -> BlackBox:
    """Load what `save_black_box` wrote, in eval mode on the CPU. Raises BlackBoxError for any other folder."""
    if not (folder / TASK_FILE).is_file():
        raise BlackBoxError(f"{folder} is not a fine-tuned model: it has no {TASK_FILE}; fine-tune it first")
    record = json.loads((folder / TASK_FILE).read_text(encoding="utf8"))
    task = TaskSettings.model_validate(record["task"])
    model, info = _task_class(task).from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    if info["missing_keys"]:
        raise BlackBoxError(f"{folder} holds no weights for {sorted(info['missing_keys'])[0]}; fine-tune it again")
    return BlackBox(model.eval(), load_tokenizer(folder), task, record["inputs"], record["max_tokens"])


def load_finetuned(lock: Path, dataset: str) -> BlackBox:
    """Load the model that was fine-tuned on a dataset, from the folder beside its lock, as `load_black_box` does.

    Raises BlackBoxError for a model of another dataset.
    """
    folder = folder_of(lock)
    box = load_black_box(folder)
    if box.task.dataset != dataset:
        raise BlackBoxError(
            f"{folder} was fine-tuned on {box.task.dataset}, not on {dataset}; delete it with its lock, and run again"
        )
    return box


def to_device(box: BlackBox, device: torch.device) -> BlackBox:
    """Move a model to a device; on a CPU use plain attention, whose backward pass is several times faster."""
    box.model.to(device)
    if device.type == "cpu":
        box.model.set_attn_implementation("eager")
    return box
