"""Pairs (x, y) as token ids of a surrogate, and log P(y given x) from its language-model head.

Two families of models have this form. An encoder-decoder model (T5, the paper's surrogate) reads x in its encoder.
A causal model reads x, a line break and `Answer:`. Both are scored on the tokens of y and the end-of-text token,
never on x.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fute.config.surrogate import SurrogateSettings
from fute.pretrained import check_whole
from fute.tokenizer import load_tokenizer

IGNORED = -100
"""Label of a position without a loss, as in transformers."""

SEGMENT_BREAK = "\n\n"
ANSWER_CUE = "\nAnswer:"

Batch = dict[str, Tensor]
TokenReduction = Literal["sum", "mean"]
Labels = Literal["given", "sampled"]


class PairError(ValueError):
    """A pair (x, y) that cannot be learned from. The message names the pair and says what to do."""


@dataclass(frozen=True)
class Pair:
    """One example: the input x as one or two text segments, and the target text y."""

    x: tuple[str, ...]
    y: str


@dataclass
class Surrogate:
    """A loaded model with its tokenizer; `frozen`: none of its weights is trained.

    Training, the Fisher pass and tunings use its methods, which each form of surrogate defines. These are the methods
    of the text-to-text form; `fute.surrogate.heads` has those of the other form.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    settings: SurrogateSettings
    frozen: bool

    @property
    def family(self) -> str:
        return self.settings.family

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def prepare(self, pairs: Sequence["Pair"]) -> None:
        """Prepare to learn from a set of pairs; nothing to do in this form."""

    def facts(self) -> dict[str, Any]:
        """Facts about the form that a vector's record holds besides the settings."""
        return {}

    def restart(self) -> None:
        """Reset what belongs to a set of pairs (a head) to its start, before each training."""

    def head_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Parameters trained with the surrogate or its tuning that never enter a vector: none in this form."""
        return []

    def encode(self, pairs: Sequence["Pair"]) -> list["Example"]:
        """Token ids and targets of each pair, in order."""
        return encode_pairs(self, pairs)

    def sequence(self, example: "Example") -> tuple[int, ...]:
        """Token ids that the model reads: an encoder's input; a causal model's input and target."""
        return example.input_ids + (example.target_ids if self.family == "causal" else ())

    def groups(self, examples: Sequence["Example"]) -> list[list["Example"]]:
        """Split the examples into parts that `collate` takes as one batch each."""
        return [list(examples)]

    def collate(self, examples: Sequence["Example"]) -> Batch:
        """Examples as one batch for `losses`."""
        return collate(self, examples)

    def losses(
        self,
        model: PreTrainedModel,
        batch: Batch,
        token_reduction: TokenReduction = "sum",
        labels: Labels = "given",
        generator: torch.Generator | None = None,
        **model_inputs: Any,
    ) -> Tensor:
        """-log P(target given x) of each example, (B,) fp32. model: the surrogate's own, or one derived from it."""
        return example_losses(model, batch, token_reduction, labels, generator, **model_inputs)


@dataclass(frozen=True)
class Example:
    """A pair as token ids. Targets end with the end-of-text id. `index` is the pair's place in its list.

    input_cut, target_cut: true if the text was longer than the limit.
    """

    index: int
    input_ids: tuple[int, ...]
    target_ids: tuple[int, ...] = field(repr=False)
    input_cut: bool
    target_cut: bool


def load_surrogate(
    path: Path, settings: SurrogateSettings, *, frozen: bool = True, auto_class: type | None = None
) -> Surrogate:
    """Load a local snapshot folder (config, safetensors, tokenizer), in eval mode, without the network.

    `fute.surrogate.forms` calls the function of this name in the module of each form.
    auto_class: transformers' class that loads the model; default: the one with a language-model head.
    Frozen weights have `settings.dtype` and no gradient; trained weights are fp32.
    Raises ValueError if the folder holds a model of the other family or not all of its weights, or if its tokenizer has
    no end-of-text token.
    """
    is_encoder_decoder = AutoConfig.from_pretrained(path, local_files_only=True).is_encoder_decoder
    if is_encoder_decoder != (settings.family == "encoder-decoder"):
        kind = "an encoder-decoder" if is_encoder_decoder else "a causal"
        raise ValueError(f"surrogate {path} is {kind} model, but its settings say family={settings.family!r}")
    auto_class = auto_class or (AutoModelForSeq2SeqLM if is_encoder_decoder else AutoModelForCausalLM)
    dtype = getattr(torch, settings.dtype) if frozen else torch.float32
    model, info = auto_class.from_pretrained(path, dtype=dtype, local_files_only=True, output_loading_info=True)
    check_whole(path, model, info["missing_keys"])
    model.eval().requires_grad_(not frozen)
    tokenizer = load_tokenizer(path)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {path} has no end-of-text token to end targets with; use another surrogate")
    return Surrogate(model, tokenizer, settings, frozen)


def eager_attention(model: PreTrainedModel) -> None:
    """Use plain attention, for CPUs, where torch's fused attention has a backward pass several times slower."""
    # T5's own method does not reach its two stacks, because their configs are copies
    for part in (model.get_encoder(), model.get_decoder()) if model.config.is_encoder_decoder else (model,):
        part.set_attn_implementation("eager")


def encode_pairs(surrogate: Surrogate, pairs: Sequence[Pair]) -> list[Example]:
    """Token ids of each pair, in order.

    encoder-decoder: input = the tokenizer's own (pair) call, `a </s> b </s>`, at most `max_input_tokens` with the
    end marks. causal: input = (BOS if the tokenizer adds it) + tok(x)[:max_input_tokens] + tok("\\nAnswer:"); two
    segments become a + "\\n\\n" + b. Both cut the longer segment first. Target: tok(y)[:max_target_tokens] + eos
    (causal: tok(" " + y)). The example says if its input or target was cut.

    Raises PairError, naming the pair, if x has no text, y is empty, or x has not one or two segments.
    """
    check_segments([pair.x for pair in pairs])
    for index, pair in enumerate(pairs):
        if not pair.y.strip():
            raise PairError(f"pair {index}: y is empty; give empty answers a name, such as 'unknown'")
    if not pairs:
        return []
    causal = surrogate.family == "causal"
    texts = [pair.x for pair in pairs]
    if causal:
        inputs = causal_inputs(surrogate, texts, token_ids(surrogate, [ANSWER_CUE])[0])
    else:
        inputs = encoder_inputs(surrogate, texts)
    targets = token_ids(surrogate, [f" {pair.y.strip()}" if causal else pair.y for pair in pairs])
    limit, eos = surrogate.settings.max_target_tokens, surrogate.tokenizer.eos_token_id
    return [
        Example(index, tuple(ids), (*target[:limit], eos), cut, len(target) > limit)
        for index, ((ids, cut), target) in enumerate(zip(inputs, targets, strict=True))
    ]


def check_segments(texts: Sequence[tuple[str, ...]]) -> None:
    """Raise PairError, naming the pair, unless every x has one or two segments and some text."""
    for index, x in enumerate(texts):
        if not 1 <= len(x) <= 2:
            raise PairError(f"pair {index}: x has {len(x)} segments; give one or two")
        if not any(segment.strip() for segment in x):
            raise PairError(f"pair {index}: x is empty; drop such texts before embedding")


def token_ids(surrogate: Surrogate, texts: list[str]) -> list[list[int]]:
    """Token ids of texts, without special tokens."""
    return surrogate.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]


def begin_ids(surrogate: Surrogate) -> list[int]:
    """First ids of a causal surrogate's input: the tokenizer's begin-of-text id, if the tokenizer adds one."""
    tokenizer = surrogate.tokenizer
    adds_bos = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    return [tokenizer.bos_token_id] if adds_bos else []


def causal_inputs(
    surrogate: Surrogate, texts: Sequence[tuple[str, ...]], end: list[int]
) -> list[tuple[list[int], bool]]:
    """(ids, cut) of each x as a causal surrogate reads it, with the ids `end` after the text; cut: True if too long."""
    begin, limit = begin_ids(surrogate), surrogate.settings.max_input_tokens
    first = token_ids(surrogate, [x[0] for x in texts])
    # Segments are tokenised apart, so that a pair has the same tokens whether or not it is cut.
    second = token_ids(surrogate, [SEGMENT_BREAK + x[1] if len(x) == 2 else "" for x in texts])
    encoded = []
    for a, b in zip(first, second, strict=True):
        kept_a, kept_b = longest_first(len(a), len(b), limit)
        encoded.append(([*begin, *a[:kept_a], *b[:kept_b], *end], kept_a + kept_b < len(a) + len(b)))
    return encoded


def longest_first(a: int, b: int, limit: int) -> tuple[int, int]:
    """Lengths of two segments after cutting the longer one first, until both fit in `limit` together."""
    if a + b <= limit:
        return a, b
    shorter = min(a, b, limit // 2)
    return (shorter, limit - shorter) if a < b else (limit - shorter, shorter)


def encoder_inputs(surrogate: Surrogate, texts: Sequence[tuple[str, ...]]) -> list[tuple[list[int], bool]]:
    """(ids, cut) of each x as an encoder-decoder surrogate reads it; cut: True if too long."""
    limit, encoded = surrogate.settings.max_input_tokens, []
    for x in texts:
        whole = surrogate.tokenizer(*x, verbose=False)["input_ids"]
        if len(whole) <= limit:
            encoded.append((whole, False))
        else:
            kept = surrogate.tokenizer(*x, truncation="longest_first", max_length=limit)["input_ids"]
            encoded.append((kept, True))
    return encoded


def collate(surrogate: Surrogate, examples: Sequence[Example]) -> Batch:
    """A batch for the surrogate's model: `input_ids`, `attention_mask`, `labels` (-100 = no loss).

    encoder-decoder: padded on the right; labels (B, K), K is the length of the longest target. Causal: input and target
    in one sequence, padded on the *left* with explicit `position_ids`. So all targets are at the right end, and the
    vocabulary-wide head is computed for those few positions only. Labels (B, K) are those of the right end, as
    `target_logits` needs them.
    """
    side = "right" if surrogate.family == "encoder-decoder" else "left"
    labels = _pad([example.target_ids for example in examples], IGNORED, side)
    return on_device(surrogate, padded_inputs(surrogate, examples) | {"labels": labels})


def padded_inputs(surrogate: Surrogate, examples: Sequence[Example]) -> Batch:
    """`input_ids` and `attention_mask` of a batch, on the CPU; causal: padded on the left, with `position_ids`."""
    tokenizer = surrogate.tokenizer
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    side = "right" if surrogate.family == "encoder-decoder" else "left"
    sequences = [surrogate.sequence(example) for example in examples]
    mask = _pad([(1,) * len(ids) for ids in sequences], 0, side)
    batch = {"input_ids": _pad(sequences, pad, side), "attention_mask": mask}
    if surrogate.family == "causal":
        batch["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    return batch


def on_device(surrogate: Surrogate, batch: Batch) -> Batch:
    """The batch on the surrogate's device."""
    if surrogate.device.type == "cuda":  # a copy from pageable memory would wait for all work queued on the device
        return {name: tensor.pin_memory().to(surrogate.device, non_blocking=True) for name, tensor in batch.items()}
    return {name: tensor.to(surrogate.device) for name, tensor in batch.items()}


def _pad(rows: Iterable[Sequence[int]], value: int, side: str) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], True, value, padding_side=side)


def target_logits(model: PreTrainedModel, batch: Batch, **model_inputs: Any) -> tuple[Tensor, Tensor]:
    """Logits at the positions that predict a target token, and those tokens: (B, K, V) and (B, K).

    Tokens are -100 at positions without a loss. `model_inputs` are passed to the model (a cache, encoder states).
    Labels of a causal batch may be as wide as its inputs, with any padding, as the model itself takes them. Narrower
    labels are those of the right end; then finding their positions does not wait for the device.
    """
    labels = batch["labels"]
    inputs = {name: value for name, value in batch.items() if name != "labels"} | model_inputs
    if model.config.is_encoder_decoder:
        decoder_inputs = model.prepare_decoder_input_ids_from_labels(labels)
        return model(**inputs, decoder_input_ids=decoder_inputs).logits, labels
    tokens = inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"]
    length, width = tokens.shape[1], labels.shape[1]
    if width < length:
        # Indices, not a count: on a slice that is not contiguous, the head would copy its weight for each example.
        positions = torch.arange(length - 1 - width, length - 1, device=tokens.device)
        return model(**inputs, logits_to_keep=positions).logits, labels
    targets = labels[:, 1:]
    positions = (targets != IGNORED).any(0).nonzero().squeeze(1)
    return model(**inputs, logits_to_keep=positions).logits, targets[:, positions]


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """-log P of each target token, (B, K), in fp32; 0 where the target is -100."""
    flat = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return flat.view_as(targets)


def example_losses(
    model: PreTrainedModel,
    batch: Batch,
    token_reduction: TokenReduction = "sum",
    labels: Labels = "given",
    generator: torch.Generator | None = None,
    **model_inputs: Any,
) -> Tensor:
    """-log P(y given x) of each example, (B,): the sum or the mean over its target tokens."""
    logits, targets = target_logits(model, batch, **model_inputs)
    if labels == "sampled":
        chances = logits.detach().float().softmax(-1).flatten(0, 1).cpu()  # so that every device draws the same
        drawn = torch.multinomial(chances, 1, generator=generator).view_as(targets).to(targets.device)
        targets = torch.where(targets == IGNORED, targets, drawn)
    losses = negative_log_likelihood(logits, targets).sum(1)
    return losses / (targets != IGNORED).sum(1) if token_reduction == "mean" else losses
