"""States of texts below everything that is trained: computed once, used by every step of every vector.

If the encoder of an encoder-decoder surrogate is not trained, its states of a text are the same for every step,
epoch, black box and prompt. The states of a causal surrogate below its first tuned layer depend on the label as well:
black boxes share those of the texts that they label alike. States are kept in memory for one list of examples, and for
a causal surrogate also text by text (`RememberedStates`), or in a memory-mapped file for a whole corpus.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fute.surrogate.frozen import Cut
from fute.surrogate.text2text import Batch, Example, Surrogate, on_device, padded_inputs

MOST_CROSS_BYTES = 2**31
"""Up to this size, keys and values of the cross-attentions are kept next to the states; if larger, every step computes
them from the states. They are 2 tensors per decoder layer (T5-base: 24 times the states)."""

MOST_REMEMBERED_BYTES = 2**31
"""Size of the states that `RememberedStates` holds; the longest unused ones are dropped first."""

MOST_LABELS = 8
"""Labels that `RememberedStates` tries a text with; a task of classes has few."""

TEXTS_A_BATCH = 32
"""The same everywhere, because the last bits of a text's states depend on the shape of its batch."""

MakeBatch = Callable[[Sequence[Example]], Batch]
"""Makes a batch of some examples of a list."""


class States:
    """States of a list of texts, joined end to end.

    states: (tokens, d), in the surrogate's dtype. ids: (tokens,), the token of each state. lengths: (texts,), in
    tokens. cross: (tokens, 2 * layers, heads, head_dim), keys and values of a decoder's cross-attentions, computed from
    the states. Example i of a list is text i here.
    """

    def __init__(self, states: Tensor, ids: Tensor, lengths: Tensor, cross: Tensor | None = None) -> None:
        self.states, self.ids, self.lengths, self.cross = states, ids, lengths, cross
        stops = lengths.long().cumsum(0)
        self._spans = list(zip((stops - lengths).tolist(), stops.tolist(), strict=True))

    def cover(self, surrogate: Surrogate, examples: Sequence[Example]) -> bool:
        """True if the examples are the first texts held here."""
        wanted = [surrogate.sequence(example) for example in examples]
        if len(wanted) > len(self.lengths):
            return False
        if [len(ids) for ids in wanted] != self.lengths[: len(wanted)].tolist():
            return False
        flat = torch.tensor([token for ids in wanted for token in ids], dtype=torch.int32)
        return torch.equal(flat, self.ids[: len(flat)])

    def batch(self, surrogate: Surrogate, examples: Sequence[Example]) -> Batch:
        """`collate` with `states` (B, S, d), and `cross` if it is kept, in place of the input ids.

        Where the mask is 0, the states are those of other texts; nothing attends to them.
        """
        batch = surrogate.collate(examples)
        width = batch.pop("input_ids").shape[1]
        starts, stops = torch.tensor([self._spans[example.index] for example in examples]).T
        first = starts if surrogate.family == "encoder-decoder" else stops - width  # padded right, or left
        places = (first[:, None] + torch.arange(width)).clamp(0, len(self.ids) - 1).flatten().to(self.states.device)
        for name, kept in (("states", self.states), ("cross", self.cross)):
            if kept is not None:
                padded = kept.index_select(0, places).unflatten(0, (len(examples), width))
                batch[name] = padded.to(surrogate.device, non_blocking=True)
        return batch

    def on(self, device: torch.device) -> States:
        """These states on a CUDA device if they fit in half of its free memory; else unchanged."""
        if device.type != "cuda" or self.states.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
            return self
        return States(self.states.to(device), self.ids, self.lengths)

    def with_cross(self, cut: Cut) -> States:
        """These states with keys and values of the cross-attentions, if those stay fixed and are not too large."""
        if self.cross is not None or not cut.has_fixed_cross_attention:
            return self
        device = cut.surrogate.device
        if cut.cross_attention(self.states[:1].to(device)).nbytes * len(self.states) > MOST_CROSS_BYTES:
            return self
        parts = [cut.cross_attention(part.to(device)).to(self.states.device) for part in self.states.split(4096)]
        return States(self.states, self.ids, self.lengths, torch.cat(parts))


class Place(NamedTuple):
    """Which text it is, and where it is computed: a row of a batch of so many texts, of at most so many tokens.

    padded: whether any text of the batch is shorter than that. Where none is, attention needs no mask, and may take
    another kernel.
    """

    texts: int
    width: int
    padded: bool
    row: int
    ids: tuple[int, ...]


class RememberedStates:
    """States of single texts, for lists of examples that differ in few of them.

    A causal surrogate's states cover the label, so all black boxes on U share the states of the texts that they label
    alike: of two classes, two passes over U serve every black box. A text's states are used again only at the same
    place of a batch of the same shape, where they are the same to the last bit whatever the other texts are; not so in
    a mixture of experts, whose experts multiply tokens of several texts at once.
    """

    def __init__(self) -> None:
        self._states: OrderedDict[Place, Tensor] = OrderedDict()
        self._bytes = 0
        self._labels: dict[tuple[int, ...], None] = {}

    def batch(
        self, surrogate: Surrogate, examples: Sequence[Example], compute: Callable[[Sequence[Example]], list[Tensor]]
    ) -> list[Tensor]:
        """States of a batch of examples sorted by length, each (tokens, d). compute: gives those of any batch.

        Unless all are remembered, a batch is computed. In it a text whose states are remembered stands under another
        label of the same length that it was not seen with, so that no black box after it needs that pass.
        """
        places = _places(surrogate, examples)
        known = [self._take(place) for place in places]
        for example in examples:
            if len(self._labels) < MOST_LABELS:
                self._labels.setdefault(example.target_ids)
        if not any(states is None for states in known):
            return known
        batch = [
            example if states is None else self._under_new_label(surrogate, example, place)
            for example, place, states in zip(examples, places, known, strict=True)
        ]
        computed = compute(batch)
        self._add(_places(surrogate, batch), computed)
        return [new if states is None else states for new, states in zip(computed, known, strict=True)]

    def _under_new_label(self, surrogate: Surrogate, example: Example, place: Place) -> Example:
        """The example under a label of its length with which it is not remembered; itself if there is none."""
        fitting = (label for label in self._labels if len(label) == len(example.target_ids))
        for other in (replace(example, target_ids=label) for label in fitting):
            if place._replace(ids=surrogate.sequence(other)) not in self._states:
                return other
        return example

    def _take(self, place: Place) -> Tensor | None:
        if place in self._states:
            self._states.move_to_end(place)
        return self._states.get(place)

    def _add(self, places: Sequence[Place], states: Sequence[Tensor]) -> None:
        for place, state in zip(places, states, strict=True):
            if place not in self._states:
                self._bytes += state.nbytes
            self._states[place] = state
            self._states.move_to_end(place)
        while self._bytes > MOST_REMEMBERED_BYTES:
            self._bytes -= self._states.popitem(last=False)[1].nbytes


def _places(surrogate: Surrogate, examples: Sequence[Example]) -> list[Place]:
    """Places of the examples of a batch, which are sorted by length."""
    sequences = [surrogate.sequence(example) for example in examples]
    width = len(sequences[-1])
    shape = len(sequences), width, len(sequences[0]) < width
    return [Place(*shape, row, ids) for row, ids in enumerate(sequences)]


def compute_states(
    cut: Cut,
    examples: Sequence[Example],
    progress: Callable[[int], object] | None = None,
    remembered: RememberedStates | None = None,
) -> States:
    """Compute the states of all examples below what is trained; they are returned on the CPU.

    Only the given list matters, in batches of similar length, so a vector learned from the states does not depend on
    what was embedded before it. Equal examples are computed once. progress: called with the number of texts of each
    batch. remembered: states of earlier lists, which spare batches that they cover, and are added to; None: nothing is
    kept.
    """
    surrogate = cut.surrogate
    wanted = [surrogate.sequence(example) for example in examples]
    lengths = torch.tensor([len(ids) for ids in wanted], dtype=torch.int32)
    ids = torch.tensor([token for row in wanted for token in row], dtype=torch.int32)
    starts = (lengths.long().cumsum(0) - lengths).tolist()
    flat: Tensor | None = None
    equal: dict[tuple[int, ...], list[int]] = {}  # the rows of a small dataset are repeated
    for i, sequence in enumerate(wanted):
        equal.setdefault(sequence, []).append(i)
    by_length = sorted((same[0] for same in equal.values()), key=lambda i: (len(wanted[i]), i))

    def compute(batch: Sequence[Example]) -> list[Tensor]:
        inputs = on_device(surrogate, padded_inputs(surrogate, batch))
        masks = inputs["attention_mask"].cpu().bool()
        return [state[mask] for state, mask in zip(cut.states(inputs).cpu(), masks, strict=True)]

    for first in range(0, len(by_length), TEXTS_A_BATCH):
        part = by_length[first : first + TEXTS_A_BATCH]
        batch = [examples[i] for i in part]
        states = remembered.batch(surrogate, batch, compute) if remembered else compute(batch)
        if flat is None:
            flat = torch.empty(len(ids), states[0].shape[1], dtype=states[0].dtype)
        copies = [equal[wanted[i]] for i in part]
        for same, state in zip(copies, states, strict=True):
            for i in same:
                flat[starts[i] : starts[i] + len(state)] = state
        if progress:
            progress(sum(map(len, copies)))
    return States(flat, ids, lengths)


class KeptStates:
    """States that one method needs, of the lists of examples that it learns from and is measured on.

    The last list of each part is kept, so that another order seed computes nothing; so are states of single texts that
    black boxes share. keep: False if what lies below the trained part changes from step to step (dropout).
    """

    def __init__(self, cut: Cut, *, keep: bool = True) -> None:
        self._cut, self._keep = cut, keep and cut.has_states
        surrogate = cut.surrogate
        # where states do not depend on the label, those of the last list serve all
        self._cover_labels = surrogate.family == "causal" and surrogate.settings.form == "text2text"
        has_experts = any(name.endswith("experts") for name, _ in surrogate.model.named_modules())
        self._remembered = RememberedStates() if self._cover_labels and not has_experts else None
        self._parts: dict[str, States] = {}
        self._given: tuple[States, States] | None = None

    def batches(
        self, part: str, examples: Sequence[Example], given: States | None = None, label: int | None = None
    ) -> MakeBatch:
        """The function that makes a batch of some of the examples, from states where they can be kept.

        part: name of the list's place (`train`, `dev`, ...). given: states of a corpus, used if they are those of the
        examples. label: number of the label, if the examples are given one label after the other.
        """
        surrogate = self._cut.surrogate
        if not self._keep or not examples:
            return surrogate.collate
        if label is not None and self._cover_labels:
            part = f"{part} {label}"
        states = self._of(part, examples, given)
        return lambda batch: states.batch(surrogate, batch)

    def _of(self, part: str, examples: Sequence[Example], given: States | None) -> States:
        """States of a list of examples: the given ones or those of the last call, if they fit; otherwise computed."""
        surrogate = self._cut.surrogate
        if given is not None and given.cover(surrogate, examples):
            if self._given is None or self._given[0] is not given:
                self._given = given, given.with_cross(self._cut)
            return self._given[1]
        kept = self._parts.get(part)
        if kept is None or len(kept.lengths) != len(examples) or not kept.cover(surrogate, examples):
            states = compute_states(self._cut, examples, remembered=self._remembered)
            self._parts[part] = states.on(surrogate.device).with_cross(self._cut)
        return self._parts[part]


def save_states(states: States, path: Path) -> None:
    """Write one safetensors file; the same states give the same bytes."""
    save_file({"states": states.states, "ids": states.ids, "lengths": states.lengths}, path)


def load_states(path: Path) -> States:
    """Load states from a file, mapped into memory: only the parts that a batch needs are read.

    Raises ValueError for a safetensors file that holds no states.
    """
    with safe_open(path, framework="pt") as file:
        if set(file.keys()) != {"states", "ids", "lengths"}:
            raise ValueError(f"{path} holds no encoder states: it has {sorted(file.keys())}; delete it and run again")
        return States(*(file.get_tensor(name) for name in ("states", "ids", "lengths")))
