"""Pairs as token ids, batches, target log-probabilities."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from fute.config.surrogate import SurrogateSettings
from fute.surrogate.text2text import (
    IGNORED,
    Example,
    Pair,
    Surrogate,
    collate,
    encode_pairs,
    longest_first,
    negative_log_likelihood,
    target_logits,
)


def byte_tokenizer(family: str, *, bos: bool = False) -> PreTrainedTokenizerFast:
    """Stand-in: one token a byte, so that every id can be read; ids 0-2 are pad, end and start."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0, "</s>": 1, "<s>": 2} | {c: i + 3 for i, c in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if family == "encoder-decoder":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
        )
    elif bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 2)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", bos_token="<s>")


def surrogate(family: str, *, max_input: int = 20, max_target: int = 5, bos: bool = False) -> Surrogate:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.3,
    )
    settings = SurrogateSettings(family=family, max_input_tokens=max_input, max_target_tokens=max_target)
    return Surrogate(LlamaForCausalLM(config).eval(), byte_tokenizer(family, bos=bos), settings, frozen=True)


def text_of(model: Surrogate, ids) -> str:
    names = {0: "<pad>", 1: "</s>", 2: "<s>"}
    return "".join(names.get(i) or model.tokenizer.decode([i]) for i in ids)


@pytest.mark.parametrize(
    ("bos", "x", "expected"),
    [
        (False, ("a film",), "a film\nAnswer:"),
        (True, ("a film",), "<s>a film\nAnswer:"),
        (False, ("one", "two"), "one\n\ntwo\nAnswer:"),
        (False, ("one", ""), "one\n\n\nAnswer:"),
        (False, ("a text of more than twenty",), "a text of more than \nAnswer:"),
        # 20 tokens for "123456789012345" and "\n\nabcdefghij" (12): the longer one is cut first, then both.
        (False, ("123456789012345", "abcdefghij"), "1234567890\n\nabcdefgh\nAnswer:"),
        (False, ("123", "abcdefghijklmnopqrstuvwxyz"), "123\n\nabcdefghijklmno\nAnswer:"),
    ],
)
def test_causal_input(bos, x, expected):
    model = surrogate("causal", bos=bos)
    (example,) = encode_pairs(model, [Pair(x, "good")])
    assert text_of(model, example.input_ids) == expected
    assert text_of(model, example.target_ids) == " good</s>"
    assert example.input_cut == (len("\n\n".join(x)) > 20)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (("a film",), "a film</s>"),
        (("one", "two"), "one</s>two</s>"),
        (("one", ""), "one</s>"),
        (("a text of more than twenty",), "a text of more than</s>"),
        (("123456789012345", "abc"), "123456789012345</s>abc</s>"),
        (("1234567890123456", "abc"), "123456789012345</s>abc</s>"),
    ],
)
def test_encoder_decoder_input(x, expected):
    model = surrogate("encoder-decoder")
    (example,) = encode_pairs(model, [Pair(x, "good")])
    assert text_of(model, example.input_ids) == expected
    assert text_of(model, example.target_ids) == "good</s>"
    assert example.input_cut == (sum(map(len, x)) + len(x) > 20)


@pytest.mark.parametrize("family", ["causal", "encoder-decoder"])
def test_limits_and_order(family):
    model = surrogate(family)
    pairs = [Pair(("x" * 100_000,), "a long target"), Pair(("y", "z" * 100_000), "b")]
    first, second = encode_pairs(model, pairs)
    assert (first.index, first.input_cut, first.target_cut) == (0, True, True)
    assert (second.index, second.input_cut, second.target_cut) == (1, True, False)
    assert len(first.target_ids) == 6 and first.target_ids[-1] == 1
    cue = len("\nAnswer:") if family == "causal" else 0
    assert len(first.input_ids) == len(second.input_ids) == 20 + cue
    assert encode_pairs(model, []) == []


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 50))
def test_longest_first_equals_taking_one_token_at_a_time(a, b, limit):
    kept = longest_first(a, b, limit)
    x, y = a, b
    while x + y > limit:
        x, y = (x - 1, y) if x > y else (x, y - 1)
    assert sum(kept) == min(a + b, limit)
    assert abs(kept[0] - x) <= 1, (kept, (x, y))  # of two equal segments, either may keep the odd token


def test_collate_causal_by_hand():
    model = surrogate("causal")
    batch = collate(model, [Example(0, (7, 8, 9), (5, 1), False, False), Example(1, (6,), (4, 3, 1), False, False)])
    assert batch["input_ids"].tolist() == [[7, 8, 9, 5, 1], [0, 6, 4, 3, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [0, 1, 1, 1, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4], [0, 0, 1, 2, 3]]
    assert batch["labels"].tolist() == [[IGNORED, 5, 1], [4, 3, 1]], "those of the right end"


def test_a_tokenizer_without_a_padding_token_pads_with_the_end_mark():
    """As Llama's. The mask hides it, so that no loss depends on it."""
    model = surrogate("causal")
    examples = [Example(0, (7, 8, 9), (5, 1), False, False), Example(1, (6,), (4, 1), False, False)]
    expected = negative_log_likelihood(*target_logits(model.model, collate(model, examples)))
    model.tokenizer.pad_token = None
    batch = collate(model, examples)
    assert batch["input_ids"].tolist() == [[7, 8, 9, 5, 1], [1, 1, 6, 4, 1]]
    assert torch.equal(negative_log_likelihood(*target_logits(model.model, batch)), expected)


def test_collate_encoder_decoder_by_hand():
    batch = collate(
        surrogate("encoder-decoder"),
        [Example(0, (7, 8, 1), (5, 1), False, False), Example(1, (6, 1), (4, 3, 1), False, False)],
    )
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert batch["input_ids"].tolist() == [[7, 8, 1], [6, 1, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[5, 1, IGNORED], [4, 3, 1]]


def test_losses_are_of_the_target_alone():
    """-log P of y and the end mark from plain, unpadded forward passes; the head sees few positions."""
    model = surrogate("causal", max_input=50)
    pairs = [Pair(("a film",), "ok"), Pair(("one", "a longer second text"), "fine"), Pair(("b",), "c")]
    encoded = encode_pairs(model, pairs)
    logits, targets = target_logits(model.model, collate(model, encoded))
    found = negative_log_likelihood(logits, targets).sum(1)
    assert logits.shape[1] == max(len(example.target_ids) for example in encoded)
    for example, value in zip(encoded, found, strict=True):
        ids = torch.tensor([example.input_ids + example.target_ids])
        chances = model.model(ids).logits[0].log_softmax(-1)
        start = len(example.input_ids)
        expected = -sum(chances[start + i - 1, token] for i, token in enumerate(example.target_ids))
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)


def test_labels_as_a_transformers_user_gives_them_find_the_same_targets():
    """As wide as the inputs, padded on either side: the same losses as collated labels of the right end."""
    model = surrogate("causal")
    examples = [Example(0, (7, 8, 9), (5, 1), False, False), Example(1, (6,), (4, 3, 1), False, False)]
    collated = collate(model, examples)
    n = IGNORED
    left = collated | {"labels": torch.tensor([[n, n, n, 5, 1], [n, n, 4, 3, 1]])}
    right = {
        "input_ids": torch.tensor([[7, 8, 9, 5, 1], [6, 4, 3, 1, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]),
        "labels": torch.tensor([[n, n, n, 5, 1], [n, 4, 3, 1, n]]),
    }
    expected = negative_log_likelihood(*target_logits(model.model, collated)).sum(1)
    for batch in (left, right):
        found = negative_log_likelihood(*target_logits(model.model, batch)).sum(1)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


class Seen(TorchDispatchMode):
    """The names of all torch operations within the block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def test_where_collated_targets_stand_is_known_without_asking_the_device():
    model = surrogate("causal")
    collated = collate(model, [Example(0, (7, 8, 9), (5, 1), False, False)])
    with Seen() as narrow:
        target_logits(model.model, collated)
    with Seen() as wide:
        target_logits(model.model, collated | {"labels": torch.tensor([[IGNORED, IGNORED, IGNORED, 5, 1]])})
    assert "aten::nonzero" in wide.names and "aten::nonzero" not in narrow.names
