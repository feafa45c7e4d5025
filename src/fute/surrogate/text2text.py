"""Pairs (x, y) as token ids of a surrogate, and log P(y given x) from its language-model head.

Two families share this form. An encoder-decoder model (T5, the paper's surrogate) reads x in its encoder and
is scored on y; a causal model reads `x`, a line break, `Answer:` and is scored on y. Both are scored on the
target's own tokens and the end-of-text token, never on x.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fute.recipes import SurrogateSettings

IGNORED = -100
"""Label of a position that carries no loss, as in transformers."""

SEGMENT_BREAK = "\n\n"
ANSWER_CUE = "\nAnswer:"

Batch = dict[str, Tensor]


class PairError(ValueError):
    """A pair (x, y) that cannot be learned from; names the pair and what to do."""


@dataclass(frozen=True)
class Pair:
    """One example: the input x as one or two text segments, and the target text y."""

    x: tuple[str, ...]
    y: str


@dataclass
class Surrogate:
    """A loaded model with its tokenizer; `frozen` says that no weight of it is trained."""

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


@dataclass(frozen=True)
class Example:
    """A pair as token ids. Targets end with the end-of-text id; `index` is the pair's place in its list."""

    index: int
    input_ids: tuple[int, ...]
    target_ids: tuple[int, ...] = field(repr=False)
    input_cut: bool
    target_cut: bool


def load_surrogate(path: Path, settings: SurrogateSettings, *, frozen: bool = True) -> Surrogate:
    """Load a local snapshot folder (config, safetensors, tokenizer), in eval mode, without the network.

    Frozen weights take `settings.dtype` and ask for no gradient; weights to be trained are fp32.
    Raises ValueError where the folder holds a model of the other family.
    """
    is_encoder_decoder = AutoConfig.from_pretrained(path, local_files_only=True).is_encoder_decoder
    if is_encoder_decoder != (settings.family == "encoder-decoder"):
        found = "an encoder-decoder" if is_encoder_decoder else "a causal"
        raise ValueError(f"surrogate {path} is {found} model, but its settings say family={settings.family!r}")
    auto_class = AutoModelForSeq2SeqLM if is_encoder_decoder else AutoModelForCausalLM
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
    for part in (model.encoder, model.decoder) if model.config.is_encoder_decoder else (model,):
        part.set_attn_implementation("eager")


def encode_pairs(surrogate: Surrogate, pairs: Sequence[Pair]) -> list[Example]:
    """Token ids of each pair, in order.

    encoder-decoder: input = the tokenizer's own (pair) call, `a </s> b </s>`, at most `max_input_tokens` with
    the end marks; causal: (BOS if the tokenizer adds it) + tok(x)[:max_input_tokens] + tok("\\nAnswer:"),
    where a pair is a + "\\n\\n" + b. Both cut the longer segment first. Target: tok(y)[:max_target_tokens] +
    eos (causal: tok(" " + y)). What was cut is marked on the example.

    Raises PairError, naming the pair, for an x without any text, an empty y, or not one or two segments.
    """
    for index, pair in enumerate(pairs):
        if not 1 <= len(pair.x) <= 2:
            raise PairError(f"pair {index}: x has {len(pair.x)} segments; give one or two")
        if not any(segment.strip() for segment in pair.x):
            raise PairError(f"pair {index}: x is empty; drop such texts before embedding")
        if not pair.y.strip():
            raise PairError(f"pair {index}: y is empty; give the black box's silence a name, such as 'unknown'")
    if not pairs:
        return []
    causal = surrogate.family == "causal"
    inputs = _causal_inputs(surrogate, pairs) if causal else _encoder_inputs(surrogate, pairs)
    targets = _ids(surrogate, [f" {pair.y.strip()}" if causal else pair.y for pair in pairs])
    limit, eos = surrogate.settings.max_target_tokens, surrogate.tokenizer.eos_token_id
    return [
        Example(index, tuple(ids), (*target[:limit], eos), cut, len(target) > limit)
        for index, ((ids, cut), target) in enumerate(zip(inputs, targets, strict=True))
    ]


def _ids(surrogate: Surrogate, texts: list[str]) -> list[list[int]]:
    return surrogate.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]


def _causal_inputs(surrogate: Surrogate, pairs: Sequence[Pair]) -> list[tuple[list[int], bool]]:
    tokenizer, limit = surrogate.tokenizer, surrogate.settings.max_input_tokens
    adds_bos = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    bos = [tokenizer.bos_token_id] if adds_bos else []
    cue = _ids(surrogate, [ANSWER_CUE])[0]
    first = _ids(surrogate, [pair.x[0] for pair in pairs])
    # Segments are tokenised apart, so that a pair has the same tokens whether or not it is cut.
    second = _ids(surrogate, [SEGMENT_BREAK + pair.x[1] if len(pair.x) == 2 else "" for pair in pairs])
    encoded = []
    for a, b in zip(first, second, strict=True):
        kept_a, kept_b = longest_first(len(a), len(b), limit)
        encoded.append(([*bos, *a[:kept_a], *b[:kept_b], *cue], kept_a + kept_b < len(a) + len(b)))
    return encoded


def longest_first(a: int, b: int, limit: int) -> tuple[int, int]:
    """Lengths kept of two segments when tokens are taken from the longer one until both fit in `limit`."""
    if a + b <= limit:
        return a, b
    shorter = min(a, b, limit // 2)
    return (shorter, limit - shorter) if a < b else (limit - shorter, shorter)


def _encoder_inputs(surrogate: Surrogate, pairs: Sequence[Pair]) -> list[tuple[list[int], bool]]:
    limit, encoded = surrogate.settings.max_input_tokens, []
    for pair in pairs:
        whole = surrogate.tokenizer(*pair.x, verbose=False)["input_ids"]
        if len(whole) <= limit:
            encoded.append((whole, False))
        else:
            kept = surrogate.tokenizer(*pair.x, truncation="longest_first", max_length=limit)["input_ids"]
            encoded.append((kept, True))
    return encoded


def collate(surrogate: Surrogate, examples: Sequence[Example]) -> Batch:
    """A batch as the surrogate's model takes it: `input_ids`, `attention_mask`, `labels` (-100 = no loss).

    encoder-decoder: padded on the right, labels (B, K), K being the longest target. Causal: input and target
    in one sequence, padded on the *left* with explicit `position_ids`, so that all targets stand at the right
    end and the vocabulary-wide head is computed for those few positions only; labels (B, K) are those of the
    right end, as `target_logits` takes them.
    """
    tokenizer = surrogate.tokenizer
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if surrogate.family == "encoder-decoder":
        inputs = [example.input_ids for example in examples]
        labels = _pad([example.target_ids for example in examples], IGNORED, "right")
        side = "right"
    else:
        inputs = [example.input_ids + example.target_ids for example in examples]
        labels = _pad([example.target_ids for example in examples], IGNORED, "left")
        side = "left"
    input_ids = _pad(inputs, pad, side)
    mask = _pad([(1,) * len(ids) for ids in inputs], 0, side)
    batch = {"input_ids": input_ids, "attention_mask": mask, "labels": labels}
    if surrogate.family == "causal":
        batch["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
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
