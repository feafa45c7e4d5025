"""The heads form: its losses by hand and by transformers' own classes, its spans, its Fisher, its vectors."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from support.stand_ins import FAMILIES, WORDS, save_stand_in
from support.tunings import tuning_of
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    T5ForQuestionAnswering,
    T5ForSequenceClassification,
)

from fute.config.methods import (
    BiasSettings,
    LoraSettings,
    TaskEmbSettings,
    TextEmbSettings,
    TupateSettings,
    reads_shared_states,
)
from fute.config.surrogate import SurrogateSettings
from fute.embeddings import EmbeddingError, cosine
from fute.embeddings.embedder import Embedder
from fute.embeddings.tuned import Tuned
from fute.surrogate.checkpoint import Checkpoint
from fute.surrogate.fisher.diagonal import fisher_pass, loop_fisher
from fute.surrogate.forms import load_form
from fute.surrogate.heads import HeadsSurrogate, draw_head
from fute.surrogate.labelled import (
    NO_ANSWER,
    ClassTarget,
    EndsTarget,
    HeadTask,
    Labelled,
    LabelledExample,
    NumberTarget,
    SoftTarget,
    SpanTarget,
    encode_labelled,
)
from fute.surrogate.spans import span_tokens
from fute.surrogate.states import compute_states
from fute.surrogate.text2text import PairError

CLASSIFIER = {"encoder-decoder": T5ForSequenceClassification, "causal": LlamaForSequenceClassification}
ANSWERER = {"encoder-decoder": T5ForQuestionAnswering, "causal": LlamaForQuestionAnswering}


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("surrogates")
    return {family: save_stand_in(root / family, family) for family in FAMILIES}


def loaded(snapshots, family: str, *, frozen: bool = True, limit: int = 12) -> HeadsSurrogate:
    how = SurrogateSettings(family=family, form="heads", max_input_tokens=limit)
    surrogate = load_form(snapshots[family], how, frozen=frozen)
    surrogate.model.set_attn_implementation("eager")
    return surrogate


def text(seed: int, least: int = 2, most: int = 9) -> str:
    generator = np.random.default_rng(seed)
    return " ".join(generator.choice(WORDS, generator.integers(least, most)))


def word_span(context: str, first: int, last: int) -> SpanTarget:
    words = context.split()
    start = len(" ".join(words[:first])) + (first > 0)
    return SpanTarget(start, start + len(" ".join(words[first : last + 1])))


def labelled(kind: str, n: int = 24, seed: int = 1) -> list[Labelled]:
    found = []
    for i in range(n):
        x: tuple[str, ...] = (text(100 * seed + i),)
        if kind == "span":
            x = (text(1000 * seed + i, 2, 4), text(100 * seed + i, 3, 7))
            last = i % len(x[1].split())
            target = SpanTarget(0, 0) if i % 5 == 4 else word_span(x[1], max(0, last - 1), last)
        elif kind == "class":
            target = ClassTarget(i % 3, 3)
        elif kind == "soft":
            p = np.random.default_rng(seed + i).dirichlet([1, 1, 1])
            target = SoftTarget(tuple(p.tolist()))
        else:
            target = NumberTarget(0.3 * (i % 7) - 1)
        found.append(Labelled(x, target))
    return found


KINDS = ("class", "soft", "number", "span")


def their_loss(surrogate: HeadsSurrogate, pairs: list[Labelled]) -> torch.Tensor:
    """The loss that transformers' own class gives with our surrogate's weights and head, one example at a time."""
    span = isinstance(pairs[0].target, SpanTarget)
    config = surrogate.model.config
    config.num_labels = surrogate.task.outputs
    config.problem_type = None
    theirs = (ANSWERER if span else CLASSIFIER)[surrogate.family](config).eval()
    state = surrogate.model.state_dict()
    prefix = "" if span and surrogate.family == "encoder-decoder" else f"{theirs.base_model_prefix}."
    own = {"span": "qa_outputs"}.get(
        surrogate.task.kind, "classification_head" if surrogate.family == "encoder-decoder" else "score"
    )
    weights = {f"{prefix}{name}": value for name, value in state.items()}
    weights |= {f"{own}.{name}": value for name, value in surrogate.head.state_dict().items()}
    theirs.load_state_dict(weights)
    losses = []
    for example in surrogate.encode(pairs):
        inputs = {"input_ids": torch.tensor([example.input_ids])}
        if surrogate.family == "causal" and not span:
            theirs.config.pad_token_id = 0
        if span:
            start, stop = example.target_ids
            inputs |= {"start_positions": torch.tensor([start]), "end_positions": torch.tensor([stop])}
        else:
            inputs["labels"] = torch.tensor(example.target_ids)
        losses.append(theirs(**inputs).loss)
    return torch.stack(losses).detach()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_those_of_transformers_own_classes(snapshots, family, kind):
    """A padded batch of ours against one example at a time of theirs."""
    surrogate, pairs = loaded(snapshots, family), labelled(kind, n=6)
    surrogate.prepare(pairs)
    batch = surrogate.collate(surrogate.encode(pairs))
    assert (batch["attention_mask"] == 0).any(), "padding must matter"
    with torch.no_grad():
        found = surrogate.losses(surrogate.model, batch, token_reduction="mean")
        total = surrogate.losses(surrogate.model, batch)
    torch.testing.assert_close(found, their_loss(surrogate, pairs), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(total, found * (2 if kind == "span" else 1))


# --- heads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_is_drawn_from_its_seed_alone(snapshots, family):
    config = loaded(snapshots, family).model.config
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = draw_head(config, HeadTask("class", 300), 7)
    assert torch.equal(torch.random.get_rng_state(), before), "drawing moved the process's random stream"
    torch.manual_seed(2)
    other = draw_head(config, HeadTask("soft", 300), 7)
    for (name, a), (_, b) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes() and a.dtype == torch.float32
        if a.ndim == 2:
            deviation = 0.3 if family == "causal" else 1 / 4  # d_model 16
            assert a.std().item() == pytest.approx(deviation, rel=0.1) and abs(a.mean()) < 0.05, name
        else:
            assert (a == 0).all()
    another = draw_head(config, HeadTask("class", 300), 8)
    assert not torch.equal(next(another.parameters()), next(one.parameters()))


def test_a_head_has_no_dropout(snapshots):
    """T5's has a rate of its own in the model's config; a head measures the same twice."""
    config = copy.deepcopy(loaded(snapshots, "encoder-decoder").model.config)
    config.classifier_dropout = 0.5
    head, states = draw_head(config, HeadTask("class", 3), 7), torch.ones(2, config.hidden_size)
    assert torch.equal(head(states), head(states))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["class", "span"])
def test_the_head_is_trained_along_but_not_in_the_vector(snapshots, family, kind):
    for method in (tupate(), taskemb()):
        made = embedder(snapshots, family, method)
        found = made.embed(labelled(kind))
        start = draw_head(made.surrogate.model.config, made.surrogate.task, 42)
        for (name, trained), (_, drawn) in zip(
            made.surrogate.head.named_parameters(), start.named_parameters(), strict=True
        ):
            assert not torch.equal(trained, drawn), name
        assert found.meta["head"] == {"kind": kind, "outputs": 2 if kind == "span" else 3}
        assert found.basis["form"] == "heads" and found.basis["head_seed"] == 42
        assert found.meta["loss_end"] < found.meta["loss_start"]
        if found.method == "taskemb":
            names = {name for name, _, _ in found.segments}
            assert names == {name for name, _ in made.surrogate.model.named_parameters()}
            assert not any(part in name for name in names for part in ("head", "score", "qa_outputs"))


def test_vectors_of_the_two_forms_or_of_two_head_seeds_are_refused(snapshots):
    heads = embedder(snapshots, "causal", tupate()).embed(labelled("class"))
    other = embedder(snapshots, "causal", tupate(), head_seed=1).embed(labelled("class"))
    with pytest.raises(EmbeddingError, match="head_seed: 42 and 1"):
        cosine(heads, other)
    other.basis["form"] = "text2text"
    with pytest.raises(EmbeddingError, match="form: 'heads' and 'text2text'"):
        cosine(heads, other)


def test_hard_and_soft_targets_of_one_space_are_compared(snapshots):
    made = embedder(snapshots, "encoder-decoder", tupate())
    assert -1 < cosine(made.embed(labelled("class")), made.embed(labelled("soft"))) < 1


# --- batches --------------------------------------------------------------------------------------------


def mixed(n: int = 24) -> list[Labelled]:
    return [Labelled((text(i), text(i + 50)) if i % 3 == 0 else (text(i),), ClassTarget(i % 2, 2)) for i in range(n)]


def test_a_batch_of_single_texts_and_pairs_is_refused(snapshots):
    surrogate, pairs = loaded(snapshots, "encoder-decoder", limit=30), mixed(4)
    surrogate.prepare(pairs)
    examples = surrogate.encode(pairs)
    with pytest.raises(ValueError, match=r"same number of end marks.*got \{0: 2, 1: 1, 2: 1, 3: 2\}"):
        surrogate.collate(examples)
    with pytest.raises(ValueError, match=r"at least one; got \{0: 0\}"):
        surrogate.collate([LabelledExample(0, (7, 8), (1,), False, False)])
    singles, doubles = surrogate.groups(examples)
    assert [e.index for e in singles] == [1, 2] and [e.index for e in doubles] == [0, 3]
    batch = surrogate.collate(doubles)
    for row, place in zip(batch["input_ids"].tolist(), batch["read_at"].tolist(), strict=True):
        assert row[place] == 1 and row.count(1) == 2 and 1 not in row[place + 1 :], "not the last end mark"
    assert batch["decoder_input_ids"][:, 0].tolist() == [0, 0]
    assert torch.equal(batch["decoder_input_ids"][:, 1:], batch["input_ids"][:, :-1])


@pytest.mark.parametrize("method", ["tupate", "taskemb"])
def test_sets_of_single_texts_and_pairs_are_learned_in_groups(snapshots, method):
    recipe = tupate() if method == "tupate" else taskemb()
    found = embedder(snapshots, "encoder-decoder", recipe).embed(mixed())
    assert found.meta["loss_end"] < found.meta["loss_start"]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([Labelled(("a",), ClassTarget(0, 2)), Labelled(("a",), ClassTarget(0, 3))], r"pair 1: .*outputs=3.*pair 0"),
        ([Labelled(("a",), ClassTarget(0, 2)), Labelled(("a",), NumberTarget(0.5))], "pair 1"),
        ([Labelled(("a",), ClassTarget(2, 2))], "pair 0: ClassTarget"),
        ([Labelled(("a",), ClassTarget(0, 1))], "two or more classes"),
        ([Labelled(("a",), SoftTarget((0.5, 1.5)))], "probabilities in 0..1"),
        ([Labelled(("a",), NumberTarget(math.nan))], "finite number"),
        ([Labelled(("a",), SpanTarget(0, 1))], "inside the second segment"),
        ([Labelled(("a", "bc"), SpanTarget(0, 3))], "inside the second segment"),
        ([Labelled(("a",), EndsTarget((1, 0), (0, 0)))], "ends inside their segments"),
        ([Labelled(("a", "bc"), EndsTarget((0, 0), (1, 2)))], "ends inside their segments"),
        ([Labelled((" ",), ClassTarget(0, 2))], "pair 0: x is empty"),
        ([Labelled(("a", "b", "c"), ClassTarget(0, 2))], "3 segments"),
        ([], "no pairs"),
    ],
)
def test_pairs_that_no_head_can_take_are_named(snapshots, pairs, message):
    surrogate = loaded(snapshots, "causal")
    with pytest.raises(PairError, match=message):
        surrogate.prepare(pairs)
        surrogate.encode(pairs)


def test_held_out_rows_are_of_the_same_task(snapshots):
    made = embedder(snapshots, "causal", tupate(max_epochs=3, patience=1))
    with pytest.raises(PairError, match="the head is for"):
        made.embed(labelled("class"), dev=labelled("number", n=4))
    assert made.embed(labelled("soft"), dev=labelled("soft", n=5, seed=9)).meta["best_epochs"][0] >= 1


# --- spans ----------------------------------------------------------------------------------------------


def bytes_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, without merges: a letter outside ASCII is several tokens; a pair as T5 has it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(["<pad>", "</s>", *alphabet])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")


def pieces_tokenizer() -> PreTrainedTokenizerFast:
    """Unigram over blanks turned into U+2581, the kind of T5's."""
    letters = [("\u2581", -5.0), *((c, -4.0) for c in "abcdeé"), ("ab", -3.0), ("\u2581ab", -2.0), ("cde", -2.5)]
    tokenizer = Tokenizer(models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), *letters], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


TOKENIZERS = {"bytes": bytes_tokenizer(), "pieces": pieces_tokenizer()}
SEGMENTS = st.text("abcdeé ", min_size=1, max_size=14).map(str.strip).filter(bool)


@settings(max_examples=100, deadline=None)
@given(question=SEGMENTS, context=SEGMENTS, data=st.data())
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_an_answers_tokens_hold_its_characters_and_no_token_too_many(family, kind, question, context, data):
    """Decoded, the tokens from one end to the other hold the answer, and without either end they do not."""
    limit = data.draw(st.integers(6, 40))
    start = data.draw(st.integers(0, len(context) - 1).filter(lambda i: context[i] != " "))
    stop = data.draw(st.integers(start + 1, len(context)).filter(lambda i: context[i - 1] != " "))
    how = SurrogateSettings(family=family, form="heads", max_input_tokens=limit)
    surrogate = HeadsSurrogate(None, TOKENIZERS[kind], how, True)
    (example,) = encode_labelled(surrogate, [Labelled((question, context), SpanTarget(start, stop))])
    whole = HeadsSurrogate(None, TOKENIZERS[kind], how.model_copy(update={"max_input_tokens": 999}), True)
    (uncut,) = encode_labelled(whole, [Labelled((question, context), SpanTarget(start, stop))])
    first, last = example.target_ids
    if not example.input_cut:
        assert example.target_ids == uncut.target_ids and first <= last and first > 0
    elif example.target_ids == (0, 0):
        return
    assert example.input_ids[first : last + 1] == uncut.input_ids[slice(uncut.target_ids[0], uncut.target_ids[1] + 1)]
    while TOKENIZERS[kind].convert_ids_to_tokens(example.input_ids[first]) == "\u2581":
        first += 1  # a blank that stands as a token of its own may share the first letter's place

    def read(start: int, stop: int) -> str:
        return " ".join(TOKENIZERS[kind].decode(example.input_ids[start:stop]).split())

    answer = " ".join(context[start:stop].split())
    assert answer in read(first, last + 1)
    assert answer not in read(first + 1, last + 1) and answer not in read(first, last), "a token too many"


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(SEGMENTS, min_size=1, max_size=2).map(tuple), data=st.data())
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_each_end_of_a_black_boxs_answer_is_the_token_that_holds_it(family, kind, texts, data):
    """In any segment, in any order; read up to and without that token, the segment ends before the character."""
    ends = []
    for _ in range(2):
        segment = data.draw(st.integers(0, len(texts) - 1))
        letters = [i for i, letter in enumerate(texts[segment]) if letter != " "]
        ends.append((segment, data.draw(st.sampled_from(letters))))
    how = SurrogateSettings(family=family, form="heads", max_input_tokens=99)
    surrogate = HeadsSurrogate(None, TOKENIZERS[kind], how, True)
    (example,) = encode_labelled(surrogate, [Labelled(texts, EndsTarget(*ends))])
    tokenizer, before = TOKENIZERS[kind], [0, 0]
    if len(texts) == 2:
        mark = tokenizer.eos_token_id
        first = tokenizer(texts[0], add_special_tokens=False)["input_ids"]
        before[1] = len(first) + (example.input_ids[len(first)] == mark)
    for number, ((segment, place), token) in enumerate(zip(ends, example.target_ids, strict=True)):

        def letters_up_to(stop: int, *, halves: bool = number == 0, begin: int = before[segment]) -> int:
            read = "".join(tokenizer.decode(example.input_ids[begin:stop]).replace("<unk>", "").split())
            return len(read if halves else read.replace("\ufffd", ""))  # two tokens of bytes may share a letter

        wanted = len("".join(texts[segment][: place + 1].split()))
        while number == 0 and tokenizer.convert_ids_to_tokens(example.input_ids[token]) == "\u2581":
            token += 1  # a blank that stands as a token of its own may share the first letter's place
        assert letters_up_to(token) < wanted <= letters_up_to(token + 1)


def test_ends_that_were_cut_off_or_lie_on_a_blank(snapshots):
    context = "the film was a great long story"
    for family in FAMILIES:
        surrogate = loaded(snapshots, family, limit=8)
        before = 3 if family == "encoder-decoder" else 2
        ends = [((1, 0), (0, 5)), ((1, 3), (1, 8)), ((1, 0), (1, 26)), ((1, 26), (0, 5))]
        pairs = [Labelled(("good answer", context), EndsTarget(*places)) for places in ends]
        surrogate.prepare(pairs)
        found = surrogate.encode([*pairs, Labelled(("the film",), NO_ANSWER)])
        assert [e.target_ids for e in found] == [(before, 1), (before + 1, before + 1), (0, 0), (0, 0), (0, 0)]
        assert [e.target_cut for e in found] == [False, False, True, True, False]


def test_a_black_boxs_answers_on_single_texts_and_pairs_give_a_vector(snapshots):
    pairs = [Labelled((text(i, 4), *((text(50 + i, 4),) if i % 2 else ())), EndsTarget((i % 2, 0), (0, 2)))
             for i in range(20)]  # fmt: skip
    pairs.append(Labelled((text(99),), NO_ANSWER))
    for family in FAMILIES:
        found = embedder(snapshots, family, tupate()).embed(pairs)
        assert np.isfinite(found.vector).all() and found.meta["targets_cut"] == 0
        other = embedder(snapshots, family, tupate()).embed([Labelled(pair.x, NO_ANSWER) for pair in pairs])
        assert cosine(found, other) < 1 - 1e-4


def test_an_answer_that_is_cut_off_is_none(snapshots):
    for family in FAMILIES:
        context = "the film was a great long story"
        pairs = [Labelled(("good answer", context), word_span(context, *place)) for place in ((0, 1), (0, 6), (6, 6))]
        surrogate = loaded(snapshots, family, limit=8)
        surrogate.prepare(pairs)
        inside, half, outside = surrogate.encode(pairs)
        assert [e.target_cut for e in (inside, half, outside)] == [False, True, True]
        assert inside.input_cut and half.target_ids == outside.target_ids == (0, 0)
        before = 3 if family == "encoder-decoder" else 2  # the question, of T5 with its end mark
        assert inside.target_ids == (before, before + 1)
        assert surrogate.encode([Labelled(pairs[0].x, SpanTarget(0, 0))])[0].target_ids == (0, 0)


def test_tokens_of_a_span_by_hand():
    context, places = [(0, 3), (3, 3), (3, 8), (9, 12)], [4, 5, 6, 7]  # the second token holds no character
    assert span_tokens(context, places, 0, 3) == (4, 4)
    assert span_tokens(context, places, 2, 4) == (4, 6)
    assert span_tokens(context, places, 8, 9) is None
    assert span_tokens(context, places, 9, 13) == (7, 7)
    assert span_tokens(context, places[:3], 5, 10) is None
    assert span_tokens(context, places[:3], 5, 9) == (6, 6)
    assert span_tokens(context, [], 0, 3) is None


def test_spans_of_left_padded_batches_move_with_their_text(snapshots):
    surrogate, pairs = loaded(snapshots, "causal"), labelled("span", n=6)
    surrogate.prepare(pairs)
    examples = surrogate.encode(pairs)
    batch = surrogate.collate(examples)
    for example, ids, (start, stop) in zip(examples, batch["input_ids"], batch["labels"].tolist(), strict=True):
        own = slice(example.target_ids[0], example.target_ids[1] + 1)
        assert tuple(ids[start : stop + 1].tolist()) == example.input_ids[own]


# --- Fisher ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_fisher_equals_one_backward_pass_an_example(snapshots, family, kind):
    """T5's word embedding serves encoder and decoder: the two gradients are summed before they are squared."""
    surrogate, pairs = loaded(snapshots, family, frozen=False), labelled(kind, n=7)
    surrogate.prepare(pairs)
    examples = surrogate.encode(pairs)
    batches = [surrogate.collate(examples[:4]), surrogate.collate(examples[4:])]
    found = fisher_pass(surrogate.model, batches, losses=surrogate.losses, traces=True)
    expected = loop_fisher(surrogate.model, batches, losses=surrogate.losses)
    assert list(found.values) == [name for name, _ in surrogate.model.named_parameters()]
    for name, value in expected.items():
        assert value.norm() > 0, name
        assert (found.values[name] - value).norm() / value.norm() < 1e-5, name
    total = sum(value.double().sum() for value in expected.values())
    assert found.traces.double().mean().item() == pytest.approx(total.item(), rel=1e-4)
    # and against squares taken by hand, one example alone and unpadded
    grads = []
    for example in examples:
        surrogate.model.zero_grad()
        surrogate.losses(surrogate.model, surrogate.collate([example])).sum().backward()
        grads.append({name: p.grad.square() for name, p in surrogate.model.named_parameters()})
    for name, value in found.values.items():
        by_hand = torch.stack([grad[name] for grad in grads]).mean(0)
        assert (value - by_hand).norm() / by_hand.norm() < 1e-4, name


def test_fisher_of_heads_takes_given_labels_only(snapshots):
    surrogate, pairs = loaded(snapshots, "causal"), labelled("class", n=2)
    surrogate.prepare(pairs)
    with pytest.raises(ValueError, match="given labels only"):
        fisher_pass(
            surrogate.model, [surrogate.collate(surrogate.encode(pairs))], labels="sampled", losses=surrogate.losses
        )


# --- tunings and vectors --------------------------------------------------------------------------------

RECIPES = {
    "t5": ("encoder-decoder", TupateSettings(length=3)),
    "t5-all": ("encoder-decoder", TupateSettings(length=3, scope="all")),
    "t5-lora": ("encoder-decoder", LoraSettings(rank=2)),
    "t5-bias": ("encoder-decoder", BiasSettings()),
    "llama": ("causal", TupateSettings(length=3)),
    "llama-last-2": ("causal", TupateSettings(length=3, layers=2)),
    "llama-lora-last-2": ("causal", LoraSettings(rank=2, layers=2)),
}


@pytest.mark.parametrize("case", RECIPES)
@pytest.mark.parametrize("kind", ["soft", "span"])
def test_states_give_the_loss_and_gradient_of_the_whole_surrogate(snapshots, case, kind):
    family, recipe = RECIPES[case]
    surrogate, pairs = loaded(snapshots, family), labelled(kind, n=6)
    surrogate.prepare(pairs)
    examples = surrogate.encode(pairs)
    tuning = tuning_of(surrogate, recipe)
    collated = [surrogate.collate(examples)]
    if tuning.has_states:
        collated.append(compute_states(tuning, examples).batch(surrogate, examples))
    found = []
    for batch in collated:
        losses = tuning.nll(batch)
        weights = [parameter for _, parameter in tuning.parameters() + surrogate.head_parameters()]
        found.append((losses.detach(), *torch.autograd.grad(losses.sum(), weights)))
    for one, other in zip(found[0], found[-1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    if case.startswith("llama") and "last" in case:
        alone = torch.cat([tuning.nll(surrogate.collate([example])) for example in examples])
        torch.testing.assert_close(alone.detach(), found[0][0], rtol=1e-4, atol=1e-6)


def tupate(**options) -> TupateSettings:
    return TupateSettings(**{"epochs": 4, "batch_size": 4, "learning_rate": 5e-2, "length": 3} | options)


def taskemb(**options) -> TaskEmbSettings:
    return TaskEmbSettings(**{"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "fisher_batch_size": 8} | options)


def embedder(snapshots, family, method, **options) -> Embedder:
    how = SurrogateSettings(family=family, form="heads", max_input_tokens=20, **options)
    return Embedder(snapshots[family], how, method, "sha")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "method",
    [
        tupate(),
        taskemb(),
        taskemb(dropout=0.1, reduction="square_of_mean"),  # as with preset: fute_code
        tupate(dropout=0.2, dropout_min_steps=0, backbone_dropout=0.2),
        LoraSettings(epochs=4, batch_size=4, learning_rate=1e-2, rank=2),
        BiasSettings(epochs=4, batch_size=4, learning_rate=1e-2),
    ],
)
def test_same_pairs_same_bytes_whatever_came_between(snapshots, family, method):
    made = embedder(snapshots, family, method)
    first = made.embed(labelled("soft"))
    made.embed(labelled("span"))
    again = made.embed(labelled("soft"))
    assert first.vector.tobytes() == again.vector.tobytes()
    fresh = embedder(snapshots, family, method).embed(labelled("soft"))
    assert first.vector.tobytes() == fresh.vector.tobytes()
    assert not np.array_equal(first.vector, made.embed(labelled("soft", seed=2)).vector)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bf16_the_head_stays_fp32(snapshots, family):
    """Frozen weights in bf16 for TuPaTE: the vector is near that of fp32. TaskEmb has no frozen weights."""
    made = embedder(snapshots, family, tupate(), dtype="bfloat16")
    found = made.embed(labelled("soft"))
    assert {parameter.dtype for _, parameter in made.surrogate.head_parameters()} == {torch.float32}
    exact = embedder(snapshots, family, tupate()).embed(labelled("soft"))
    assert 0.9 < cosine(found, exact) < 1


def test_a_killed_training_goes_on_with_its_head(snapshots, tmp_path, monkeypatch):
    """Stopped after ten steps with a checkpoint, and started again: the bytes of an undisturbed training."""
    method = taskemb()
    expected = embedder(snapshots, "encoder-decoder", method).embed(labelled("class")).vector

    def stop(done: int, total: int, loss: float) -> None:
        if done == 10:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "due", True)
    with pytest.raises(KeyboardInterrupt):
        embedder(snapshots, "encoder-decoder", method).embed(labelled("class"), progress=stop, checkpoints=tmp_path)
    with safe_open(tmp_path / "order-42.safetensors", "pt") as file:
        assert {"parameter/head.dense.weight", "parameter/shared.weight"} <= set(file.keys())
    steps = []
    again = embedder(snapshots, "encoder-decoder", method).embed(
        labelled("class"), progress=lambda done, *_: steps.append(done), checkpoints=tmp_path
    )
    assert steps == [10, 11, 12] and again.vector.tobytes() == expected.tobytes()


def test_backbone_dropout_is_on_in_training_only_and_shares_no_states(snapshots):
    with_dropout = tupate(backbone_dropout=0.3, max_epochs=2, patience=2)
    assert not reads_shared_states(with_dropout, "encoder-decoder") and reads_shared_states(tupate(), "encoder-decoder")
    made = embedder(snapshots, "encoder-decoder", with_dropout)
    modes, method = [], made._method
    assert isinstance(method, Tuned)
    plain = made.surrogate.losses

    def losses(model, *args, **kwargs):
        modes.append((torch.is_grad_enabled(), {module.training for module in model.modules()}))
        return plain(model, *args, **kwargs)

    made.surrogate.losses = losses
    found = made.embed(labelled("class"), dev=labelled("class", n=4, seed=7))
    assert method._states._parts == {}, "states were kept although every step draws its own"
    assert {(True, True), (False, False)} == {(grad, mode) for grad, (mode,) in modes}
    without = embedder(snapshots, "encoder-decoder", tupate(max_epochs=2, patience=2)).embed(
        labelled("class"), dev=labelled("class", n=4, seed=7)
    )
    assert not np.array_equal(found.vector, without.vector)


def test_prefix_dropout_starts_at_the_recipes_steps(snapshots):
    vectors = [
        embedder(snapshots, "causal", tupate(**options)).embed(labelled("class")).vector
        for options in ({}, {"dropout": 0.2}, {"dropout": 0.2, "dropout_min_steps": 24})
    ]
    assert np.array_equal(vectors[0], vectors[1]), "24 steps are fewer than 100"
    assert not np.array_equal(vectors[0], vectors[2])


def test_textemb_has_no_heads_form(snapshots):
    with pytest.raises(EmbeddingError, match="no y"):
        embedder(snapshots, "causal", TextEmbSettings())
