"""The heads form: a surrogate without its language-model head, and a small head that predicts a class, number or span.

This is the form of the authors' code (xnyuwg/fute). Its layers are those of transformers'
`T5ForSequenceClassification` and `T5ForQuestionAnswering`, or of the classes of these names for causal models:

classes, numbers  T5 reads the full input in its decoder too; the decoder's state at the last `</s>` feeds dense,
                  tanh, dense. A causal model's state at its last token, the end of text, feeds one linear layer.
spans             every state (in T5: of the decoder) feeds one linear layer, with one score as start and one as end

The head is drawn anew for every set of pairs, always from the same seed. It is trained together with the model, but
it is no part of the model and never enters a vector.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.t5.modeling_t5 import T5ClassificationHead

from fute.config.surrogate import SurrogateSettings
from fute.surrogate import text2text
from fute.surrogate.labelled import HeadTask, Labelled, LabelledExample, encode_labelled, head_task
from fute.surrogate.text2text import Batch, Labels, PairError, Surrogate, TokenReduction, on_device, padded_inputs

LABELS = ("labels", "read_at", "readable")
"""Entries of a batch that the model does not take."""


@dataclass
class HeadsSurrogate(Surrogate):
    """A surrogate whose model gives states; `task` and `head` belong to the present set of pairs."""

    task: HeadTask | None = None
    head: nn.Module | None = None

    def prepare(self, pairs: Sequence[Labelled]) -> None:
        self.task = head_task(pairs)
        self.restart()

    def restart(self) -> None:
        self.head = draw_head(self.model.config, self.task, self.settings.head_seed).to(self.device)

    def facts(self) -> dict[str, Any]:
        return {"head": asdict(self.task)} if self.task else {}

    def head_parameters(self) -> list[tuple[str, nn.Parameter]]:
        return [(f"head.{name}", parameter) for name, parameter in self.head.named_parameters()]

    def encode(self, pairs: Sequence[Labelled]) -> list[LabelledExample]:
        if (task := head_task(pairs)) != self.task:
            raise PairError(f"these pairs need {task}, but the head is for {self.task}; call `prepare` with them")
        return encode_labelled(self, pairs)

    def sequence(self, example: LabelledExample) -> tuple[int, ...]:
        return example.input_ids

    def groups(self, examples: Sequence[LabelledExample]) -> list[list[LabelledExample]]:
        """Group by the number of end marks in the input (T5: one for a text, two for a pair), in rising order."""
        by_marks: dict[int, list[LabelledExample]] = {}
        for example in examples:
            by_marks.setdefault(self._marks(example), []).append(example)
        return [group for _, group in sorted(by_marks.items())]

    def _marks(self, example: LabelledExample) -> int:
        return example.input_ids.count(self.tokenizer.eos_token_id) if self.family == "encoder-decoder" else 1

    def collate(self, examples: Sequence[LabelledExample]) -> Batch:
        """A batch: `padded_inputs` with `labels` (B, K, ...) and the places that the head reads.

        K is 1, or 2 for spans (start and end, as places in the padded sequence). Soft labels are (B, 1, classes).
        `read_at` (B,): place of the state that the head reads. For spans, `readable` (B, S): false at padding.
        Raises ValueError if inputs have no end mark or differ in their number of end marks, as transformers' classes
        do.
        """
        marks = {example.index: self._marks(example) for example in examples}
        if len(set(marks.values())) > 1 or 0 in marks.values():
            raise ValueError(
                f"inputs of one batch must hold the same number of end marks, and at least one; got {marks} (pair: "
                "number); make each batch from one of the `groups`"
            )
        batch = padded_inputs(self, examples)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        labels = torch.tensor([example.target_ids for example in examples])
        if self.task.kind == "span":
            batch["readable"] = mask.bool()
            labels += mask.argmax(1, keepdim=True)  # padding on the left shifts all places
        elif self.family == "encoder-decoder":
            is_mark = (ids == self.tokenizer.eos_token_id) & mask.bool()
            batch["read_at"] = (is_mark * torch.arange(ids.shape[1])).amax(1)
        else:
            batch["read_at"] = torch.full((len(ids),), ids.shape[1] - 1)
        if self.family == "encoder-decoder":
            batch["decoder_input_ids"] = self.model._shift_right(ids)
        return on_device(self, batch | {"labels": labels})

    def losses(
        self,
        model: PreTrainedModel,
        batch: Batch,
        token_reduction: TokenReduction = "sum",
        labels: Labels = "given",
        generator: torch.Generator | None = None,
        **model_inputs: Any,
    ) -> Tensor:
        """Loss of each example, (B,) fp32: the sum or the mean over its predictions.

        The loss is -log P of a class, -log P of a span's start and of its end, or the squared error of a number. For
        probabilities p it is the mean over classes of the binary cross-entropy between p and the sigmoid of the
        class's score, as transformers does for every float label.
        """
        if labels != "given":
            raise ValueError(
                "the heads form takes given labels only: soft targets and numbers cannot be sampled; use labels: given"
            )
        inputs = {name: tensor for name, tensor in batch.items() if name not in LABELS}
        states = model(**inputs, **model_inputs).last_hidden_state
        losses = self._head_losses(states.float(), batch)  # the head is fp32, whatever the frozen weights are
        return losses.mean(1) if token_reduction == "mean" else losses.sum(1)

    def _head_losses(self, states: Tensor, batch: Batch) -> Tensor:
        """Losses (B, K), one per prediction."""
        labels = batch["labels"]
        if self.task.kind == "span":
            # Transformers' classes give padding a share of the probability, so an answer's would depend on the batch.
            scores = self.head(states).masked_fill(~batch["readable"][..., None], -torch.inf)
            return F.cross_entropy(scores, labels, reduction="none")
        scores = self.head(states[torch.arange(len(states), device=states.device), batch["read_at"]])
        if self.task.kind == "number":
            return (scores - labels).square()
        if self.task.kind == "soft":
            return F.binary_cross_entropy_with_logits(scores[:, None], labels, reduction="none").mean(2)
        return F.cross_entropy(scores, labels.squeeze(1), reduction="none")[:, None]


def draw_head(config: PreTrainedConfig, task: HeadTask, seed: int) -> nn.Module:
    """Draw a head, fp32 on the CPU: normal weights with transformers' own deviation for the model, zero biases.

    Weights are computed in float64 from uniform numbers and then rounded, so that a seed gives the same bytes on every
    machine. Torch's own normal numbers differ in their last bits between processors.
    """
    with torch.device("meta"):
        head = _empty_head(config, task).to_empty(device="cpu")
    head.eval()  # without dropout, whatever the model's config says: nobody would turn it off to measure
    if config.is_encoder_decoder:
        deviation = config.initializer_factor * config.d_model**-0.5
    else:
        deviation = config.initializer_range
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in head.parameters():
            if parameter.ndim == 1:
                parameter.zero_()
            else:
                uniform = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(torch.special.ndtri(uniform.clamp_(min=2**-53)) * deviation)
    return head


def _empty_head(config: PreTrainedConfig, task: HeadTask) -> nn.Module:
    if task.kind == "span":
        return nn.Linear(config.hidden_size, task.outputs)
    if config.is_encoder_decoder:
        sized = copy.deepcopy(config)
        sized.num_labels = task.outputs
        return T5ClassificationHead(sized)
    return nn.Linear(config.hidden_size, task.outputs, bias=False)


def load_surrogate(path: Path, settings: SurrogateSettings, *, frozen: bool = True) -> HeadsSurrogate:
    """Load a surrogate without its language-model head."""
    loaded = text2text.load_surrogate(path, settings, frozen=frozen, auto_class=AutoModel)
    return HeadsSurrogate(loaded.model, loaded.tokenizer, settings, frozen)
