"""Pairs (x, y) as token ids of a surrogate, and log P(y given x) from its language-model head.

Two families share this form. An encoder-decoder model (T5, the paper's surrogate) reads x in its encoder and
is scored on y; a causal model reads `x`, a line break, `Answer:` and is scored on y. Both are scored on the
target's own tokens and the end-of-text token, never on x.
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
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fute.config.surrogate import SurrogateSettings

IGNORED = -100
"""Label of a position that carries no loss, as in transformers."""

SEGMENT_BREAK = "\n\n"
ANSWER_CUE = "\nAnswer:"

Batch = dict[str, Tensor]
TokenReduction = Literal["sum", "mean"]
Labels = Literal["given", "sampled"]


class PairError(ValueError):
    """A pair (x, y) that cannot be learned from; names the pair and what to do."""


@dataclass(frozen=True)
class Pair:
    """One example: the input x as one or two text segments, and the target text y."""

    x: tuple[str, ...]
    y: str


@dataclass
class Surrogate:
    """A loaded model with its tokenizer; `frozen` says that no weight of it is trained.

    Its methods are what training, the Fisher pass and tunings ask of a form of surrogate. Here they are those of
    the text-to-text form; `fute.surrogate.heads` has the other one.
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
        """Get ready to learn from a set of pairs."""

    def facts(self) -> dict[str, Any]:
        """What a vector's record says of the form beside its settings."""
        return {}

    def restart(self) -> None:
        """Put what comes with a set of pairs (a head) back to its start, before each training."""

    def head_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """What is trained beside the surrogate or its tuning and never enters a vector: nothing in this form."""
        return []

    def encode(self, pairs: Sequence["Pair"]) -> list["Example"]:
        """Token ids and targets of each pair, in order."""
        return encode_pairs(self, pairs)

    def sequence(self, example: "Example") -> tuple[int, ...]:
        """The ids an example is read as: an encoder's input; a causal model's input and target."""
        return example.input_ids + (example.target_ids if self.family == "causal" else ())

    def groups(self, examples: Sequence["Example"]) -> list[list["Example"]]:
        """The examples in parts, each of which `collate` takes as one batch."""
        return [list(examples)]

    def collate(self, examples: Sequence["Example"]) -> Batch:
        """A batch as `losses` takes it."""
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
        """-log P(target given x) of each example, (B,) fp32, by `model`: the surrogate's, or what was made of it."""
        return example_losses(model, batch, token_reduction, labels, generator, **model_inputs)


@dataclass(frozen=True)
class Example:
    """A pair as token ids. Targets end with the end-of-text id; `index` is the pair's place in its list."""

    index: int
    input_ids: tuple[int, ...]
    target_ids: tuple[int, ...] = field(repr=False)
    input_cut: bool
    target_cut: bool


def load(path: Path, settings: SurrogateSettings, *, frozen: bool = True) -> Surrogate:
    """A surrogate of this form; `fute.surrogate.forms` asks for it by this name."""
    return load_surrogate(path, settings, frozen=frozen)


def load_surrogate(
    path: Path, settings: SurrogateSettings, *, frozen: bool = True, auto_class: type | None = None
) -> Surrogate:
    """Load a local snapshot folder (config, safetensors, tokenizer), in eval mode, without the network.

    auto_class: transformers' class that loads the model; default: the one with a language-model head.
    Frozen weights take `settings.dtype` and ask for no gradient; weights to be trained are fp32.
    Raises ValueError where the folder holds a model of the other family.
    """
    is_encoder_decoder = AutoConfig.from_pretrained(path, local_files_only=True).is_encoder_decoder
    if is_encoder_decoder != (settings.family == "encoder-decoder"):
        found = "an encoder-decoder" if is_encoder_decoder else "a causal"
        raise ValueError(f"surrogate {path} is {found} model, but its settings say family={settings.family!r}")
    auto_class = auto_class or (AutoModelForSeq2SeqLM if is_encoder_decoder else AutoModelForCausalLM)
    dtype = getattr(torch, settings.dtype) if frozen else torch.float32
    model = auto_class.from_pretrained(path, dtype=dtype, local_files_only=True).eval()
    model.requires_grad_(not frozen)
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {path} has no end-of-text token, with which every target must end")
    return Surrogate(model, tokenizer, settings, frozen)


def eager_attention(model: PreTrainedModel) -> None:
    """Plain attention, for CPUs, where torch's fused one is several times slower backwards."""
    # T5's two stacks have copies of its config, which the model's own method does not reach
    for part in (model.get_encoder(), model.get_decoder()) if model.config.is_encoder_decoder else (model,):
        part.set_attn_implementation("eager")


def encode_pairs(surrogate: Surrogate, pairs: Sequence[Pair]) -> list[Example]:
    """Token ids of each pair, in order.

    encoder-decoder: input = the tokenizer's own (pair) call, `a </s> b </s>`, at most `max_input_tokens` with
    the end marks; causal: (BOS if the tokenizer adds it) + tok(x)[:max_input_tokens] + tok("\\nAnswer:"),
    where a pair is a + "\\n\\n" + b. Both cut the longer segment first. Target: tok(y)[:max_target_tokens] +
    eos (causal: tok(" " + y)). What was cut is marked on the example.

    Raises PairError, naming the pair, for an x without any text, an empty y, or not one or two segments.
    """
    check_segments([pair.x for pair in pairs])
    for index, pair in enumerate(pairs):
        if not pair.y.strip():
            raise PairError(f"pair {index}: y is empty; give the black box's silence a name, such as 'unknown'")
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
    """Ids of texts without any special token."""
    return surrogate.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]


def begin_ids(surrogate: Surrogate) -> list[int]:
    """What a causal surrogate's input begins with: the tokenizer's begin-of-text id, if it adds one."""
    tokenizer = surrogate.tokenizer
    adds_bos = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    return [tokenizer.bos_token_id] if adds_bos else []


def causal_inputs(
    surrogate: Surrogate, texts: Sequence[tuple[str, ...]], end: list[int]
) -> list[tuple[list[int], bool]]:
    """Ids of each x as a causal surrogate reads it, with `end` after the text, and whether something was cut."""
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
    """Lengths kept of two segments when tokens are taken from the longer one until both fit in `limit`."""
    if a + b <= limit:
        return a, b
    shorter = min(a, b, limit // 2)
    return (shorter, limit - shorter) if a < b else (limit - shorter, shorter)


def encoder_inputs(surrogate: Surrogate, texts: Sequence[tuple[str, ...]]) -> list[tuple[list[int], bool]]:
    """Ids of each x as an encoder-decoder surrogate reads it, and whether something was cut."""
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
    """A batch as the surrogate's model takes it: `input_ids`, `attention_mask`, `labels` (-100 = no loss).

    encoder-decoder: padded on the right, labels (B, K), K being the longest target. Causal: input and target
    in one sequence, padded on the *left* with explicit `position_ids`, so that all targets stand at the right
    end and the vocabulary-wide head is computed for those few positions only; labels (B, K) are those of the
    right end, as `target_logits` takes them.
    """
    side = "right" if surrogate.family == "encoder-decoder" else "left"
    labels = _pad([example.target_ids for example in examples], IGNORED, side)
    return on_device(surrogate, padded_inputs(surrogate, examples) | {"labels": labels})


def padded_inputs(surrogate: Surrogate, examples: Sequence[Example]) -> Batch:
    """`input_ids` and `attention_mask` of a batch, on the CPU; causal: `position_ids` too, padded on the left."""
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
    if surrogate.device.type == "cuda":  # from pageable memory a copy waits for all work queued on the device
        return {name: tensor.pin_memory().to(surrogate.device, non_blocking=True) for name, tensor in batch.items()}
    return {name: tensor.to(surrogate.device) for name, tensor in batch.items()}


def _pad(rows: Iterable[Sequence[int]], value: int, side: str) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], True, value, padding_side=side)


def target_logits(model: PreTrainedModel, batch: Batch, **model_inputs: Any) -> tuple[Tensor, Tensor]:
    """Logits at the positions that predict a target token, and those tokens: (B, K, V) and (B, K).

    Tokens are -100 where an example has no loss at a position that another one has. `model_inputs` are passed
    on (a cache, encoder states). A causal batch's labels are as wide as its inputs, with any padding, as for
    the model itself; or narrower, then they are those of the right end, and finding their positions does not
    wait for the device.
    """
    labels = batch["labels"]
    inputs = {name: value for name, value in batch.items() if name != "labels"} | model_inputs
    if model.config.is_encoder_decoder:
        decoder_inputs = model.prepare_decoder_input_ids_from_labels(labels)
        return model(**inputs, decoder_input_ids=decoder_inputs).logits, labels
    tokens = inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"]
    length, width = tokens.shape[1], labels.shape[1]
    if width < length:
        # as indices and not as a count: the head on a slice that is not contiguous copies its weight for each example
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
    """-log P(y given x) of each example, (B,): over its target tokens the sum or the mean."""
    logits, targets = target_logits(model, batch, **model_inputs)
    if labels == "sampled":
        chances = logits.detach().float().softmax(-1).flatten(0, 1).cpu()  # drawn alike on every device
        drawn = torch.multinomial(chances, 1, generator=generator).view_as(targets).to(targets.device)
        targets = torch.where(targets == IGNORED, targets, drawn)
    losses = negative_log_likelihood(logits, targets).sum(1)
    return losses / (targets != IGNORED).sum(1) if token_reduction == "mean" else losses
