"""States below what is tuned: computed once, the same from memory and from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file
from support.stand_ins import pairs, save_stand_in
from support.tunings import tuning_of

from fute.artifacts import Step
from fute.config.methods import BiasSettings, LoraSettings, TupateSettings
from fute.config.surrogate import SurrogateSettings
from fute.data.rows import Row
from fute.embeddings.encoder_states_step import encoder_states
from fute.surrogate.forms import load_form
from fute.surrogate.frozen import Cut
from fute.surrogate.labelled import ClassTarget, Labelled
from fute.surrogate.lora import LoraTuning
from fute.surrogate.states import KeptStates, RememberedStates, compute_states, load_states, save_states
from fute.surrogate.text2text import Pair, Surrogate, collate, eager_attention, encode_pairs, load_surrogate

CASES = {
    "t5": ("encoder-decoder", TupateSettings(length=3)),
    "t5-lora": ("encoder-decoder", LoraSettings(rank=2)),
    "t5-bias": ("encoder-decoder", BiasSettings()),
    "llama-last-2": ("causal", TupateSettings(length=3, layers=2)),
}


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("surrogates")
    return {family: save_stand_in(root / family, family) for family in ("encoder-decoder", "causal")}


def settings(family: str) -> SurrogateSettings:
    return SurrogateSettings(family=family, max_input_tokens=12)


def loaded(snapshots, family: str) -> Surrogate:
    surrogate = load_surrogate(snapshots[family], settings(family))
    eager_attention(surrogate.model)
    return surrogate


@pytest.mark.parametrize("case", CASES)
def test_equal_examples_are_computed_once(snapshots, case):
    family, recipe = CASES[case]
    surrogate = loaded(snapshots, family)
    tuning = tuning_of(surrogate, recipe)
    once, thrice = encode_pairs(surrogate, pairs(1, n=7)), encode_pairs(surrogate, pairs(1, n=7) * 3)
    sizes, advanced = [], []
    below = tuning.states
    tuning.states = lambda inputs: sizes.append(len(inputs["input_ids"])) or below(inputs)
    states = compute_states(tuning, thrice, progress=advanced.append)
    assert sum(sizes) == len({surrogate.sequence(example) for example in once}) and sum(advanced) == 21
    expected = compute_states(tuning, once)
    assert torch.equal(states.states, expected.states.repeat(3, 1)) and torch.equal(states.ids, expected.ids.repeat(3))
    assert states.cover(surrogate, thrice)


@pytest.mark.parametrize("case", CASES)
def test_states_give_the_loss_and_gradient_of_the_whole_surrogate(snapshots, case):
    family, recipe = CASES[case]
    surrogate = loaded(snapshots, family)
    tuning, examples = tuning_of(surrogate, recipe), encode_pairs(surrogate, pairs(1, n=7))
    states = compute_states(tuning, examples)
    for part in (examples, examples[2:5], examples[::-1]):
        found = []
        for batch in (collate(surrogate, part), states.batch(surrogate, part)):
            loss = tuning.nll(batch)
            weights = [parameter for _, parameter in tuning.parameters()]
            found.append((loss.detach(), *torch.autograd.grad(loss.sum(), weights)))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_kept_cross_attention_gives_the_same_loss_and_gradient(snapshots, monkeypatch):
    surrogate = loaded(snapshots, "encoder-decoder")
    examples = encode_pairs(surrogate, pairs(1, n=7))
    tuning = tuning_of(surrogate, TupateSettings(length=3))
    states = compute_states(tuning, examples)
    whole = states.with_cross(tuning)
    assert whole.cross.shape == (len(states.ids), 2 * 2, 4, 4) and whole.with_cross(tuning) is whole
    calls = []
    for block in surrogate.model.decoder.block:
        block.layer[1].EncDecAttention.k.register_forward_hook(lambda *_: calls.append(1))
    found = []
    for kept in (states, whole):
        loss = tuning.nll(kept.batch(surrogate, examples[::-1]))
        found.append((loss.detach(), *torch.autograd.grad(loss.sum(), [tuning.prefix])))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    assert len(calls) == 2, "with kept keys and values no layer projects the encoder's states"
    monkeypatch.setattr("fute.surrogate.states.MOST_CROSS_BYTES", whole.cross.nbytes)
    assert torch.equal(states.with_cross(tuning).cross, whole.cross)
    monkeypatch.setattr("fute.surrogate.states.MOST_CROSS_BYTES", whole.cross.nbytes - 1)
    assert states.with_cross(tuning) is states, "too large to keep"


@pytest.mark.parametrize("recipe", [LoraSettings(rank=2), BiasSettings()])
def test_cross_attention_that_is_trained_is_not_kept(snapshots, recipe):
    surrogate = loaded(snapshots, "encoder-decoder")
    tuning = tuning_of(surrogate, recipe)
    states = compute_states(tuning, encode_pairs(surrogate, pairs(1, n=3)))
    assert states.with_cross(tuning) is states


def test_the_encoder_runs_once_for_all_trainings(snapshots):
    surrogate = loaded(snapshots, "encoder-decoder")
    tuning, examples = tuning_of(surrogate, TupateSettings(length=3)), encode_pairs(surrogate, pairs(1, n=40))
    calls = []
    surrogate.model.encoder.register_forward_hook(lambda module, inputs, _: calls.append(len(inputs[0])))
    states = compute_states(tuning, examples)
    assert calls == [32, 8], "40 texts are two batches"
    for _ in range(3):
        tuning.nll(states.batch(surrogate, examples))
    assert len(calls) == 2


def test_a_file_of_states_is_the_states(snapshots, tmp_path):
    """The step's file holds what is computed in memory, for any target; a prefix of its texts is covered."""
    texts = [pair.x for pair in pairs(3, n=10)]
    with Step("fute.data.rows", settings={}) as step:
        rows = [Row(f"t/{i}", x, task="t") for i, x in enumerate(texts)]
        step.jsonl(tmp_path / "sa.jsonl.gz", [row.to_json() for row in rows])
    (tmp_path / "lock.json").write_text("{}")
    folder, output = snapshots["encoder-decoder"], tmp_path / "states.safetensors"
    encoder_states(
        settings("encoder-decoder"), model=folder, lock=tmp_path / "lock.json", corpus=tmp_path / "sa.jsonl.gz",
        texts=8, output=output,
    )  # fmt: skip
    read = load_states(output)
    surrogate = loaded(snapshots, "encoder-decoder")
    examples = encode_pairs(surrogate, pairs(3, n=10))
    computed = compute_states(tuning_of(surrogate, TupateSettings(length=3)), examples[:8])
    assert torch.equal(read.states, computed.states) and torch.equal(read.ids, computed.ids)
    assert read.cover(surrogate, examples[:8]) and read.cover(surrogate, examples[:5])
    assert not read.cover(surrogate, examples), "the file holds eight texts"
    assert not read.cover(surrogate, encode_pairs(surrogate, pairs(4, n=5)))


def test_both_forms_read_one_file_of_states(snapshots, tmp_path):
    texts = [pair.x for pair in pairs(3, n=9)] + [("the film", "a great story")]
    with Step("fute.data.rows", settings={}) as step:
        step.jsonl(tmp_path / "sa.jsonl.gz", [Row(f"t/{i}", x, task="t").to_json() for i, x in enumerate(texts)])
    (tmp_path / "lock.json").write_text("{}")
    written = []
    for form in ("text2text", "heads"):
        how = settings("encoder-decoder").model_copy(update={"form": form})
        encoder_states(
            how, model=snapshots["encoder-decoder"], lock=tmp_path / "lock.json", corpus=tmp_path / "sa.jsonl.gz",
            texts=None, output=tmp_path / form,
        )  # fmt: skip
        written.append((tmp_path / form).read_bytes())
    assert written[0] == written[1]
    surrogate = load_form(snapshots["encoder-decoder"], how)
    eager_attention(surrogate.model)
    labelled = [Labelled(x, ClassTarget(i % 2, 2)) for i, x in enumerate(texts)]
    surrogate.prepare(labelled)
    examples, read = surrogate.encode(labelled), load_states(tmp_path / "heads")
    assert read.cover(surrogate, examples)
    assert torch.equal(read.states, compute_states(tuning_of(surrogate, TupateSettings(length=3)), examples).states)


def test_a_causal_surrogate_covers_by_input_and_target(snapshots):
    surrogate = loaded(snapshots, "causal")
    examples = encode_pairs(surrogate, pairs(1, n=4))
    states = compute_states(tuning_of(surrogate, TupateSettings(length=3, layers=1)), examples)
    assert states.cover(surrogate, examples)
    turned = [type(p)(p.x, "positive" if p.y == "negative" else "negative") for p in pairs(1, n=4)]
    assert not states.cover(surrogate, encode_pairs(surrogate, turned))


def test_same_states_same_bytes_and_other_files_are_refused(snapshots, tmp_path):
    surrogate = loaded(snapshots, "encoder-decoder")
    for name in ("one", "two"):
        tuning = tuning_of(surrogate, TupateSettings(length=3))
        save_states(compute_states(tuning, encode_pairs(surrogate, pairs(1))), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    save_file({"prefix": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(ValueError, match=r"other holds no encoder states: it has \['prefix'\]"):
        load_states(tmp_path / "other")


def test_texts_that_two_black_boxes_label_alike_are_computed_once(snapshots):
    """Of two words, two passes over the texts serve every black box, and give the bits that a pass of its own gives."""
    surrogate = loaded(snapshots, "causal")
    tuning = tuning_of(surrogate, TupateSettings(length=3, layers=1))
    texts = [pair.x for pair in pairs(1, n=70)]  # batches of 32, 32 and 6
    labels = {
        "one": ["positive", "negative"] * 35,
        "mixed": ["positive", "positive", "negative"] * 23 + ["positive"],
        "inverted": ["negative", "positive"] * 35,
        "same": ["negative"] * 70,
    }
    boxes = {name: encode_pairs(surrogate, list(map(Pair, texts, ys))) for name, ys in labels.items()}
    shorter = [*boxes["mixed"][:40]]  # other batches
    alone = {name: compute_states(tuning, box) for name, box in (boxes | {"shorter": shorter}).items()}
    calls, remembered = [], RememberedStates()
    tuning.lower.register_forward_hook(lambda *_: calls.append(1))
    wanted = {"one": 3, "mixed": 6, "inverted": 6, "same": 6, "shorter": 8}
    for name, box in (boxes | {"shorter": shorter}).items():
        states = compute_states(tuning, box, remembered=remembered)
        assert torch.equal(states.states, alone[name].states) and torch.equal(states.ids, alone[name].ids)
        assert len(calls) == wanted[name], name


def test_states_of_batches_with_and_without_padding_are_not_mixed(snapshots):
    """Attention takes another kernel where no text of a batch is padded, and other last bits with it."""
    surrogate = loaded(snapshots, "causal")
    tuning, remembered, calls = tuning_of(surrogate, TupateSettings(length=3, layers=1)), RememberedStates(), []
    tuning.lower.register_forward_hook(lambda *_: calls.append(1))
    texts = {"short": "good film", "one": "a great long film", "other": "a dull bad story"}
    for names in (("one", "other"), ("short", "one"), ("short", "other")):
        compute_states(
            tuning, encode_pairs(surrogate, [Pair((texts[name],), "positive") for name in names]), remembered=remembered
        )
    assert len(calls) == 3, "each text has been at its place of two, but 'other' never beside a padded one"


def test_only_states_that_cover_labels_and_depend_on_one_text_are_remembered(snapshots):
    def remembered(family: str, form: str = "text2text", **parts: torch.nn.Module) -> RememberedStates | None:
        surrogate = load_form(snapshots[family], settings(family).model_copy(update={"form": form}), frozen=True)
        for name, part in parts.items():
            surrogate.model.get_decoder().layers[0].mlp.add_module(name, part)
        recipe = BiasSettings(layers=1) if family == "causal" else BiasSettings()
        return KeptStates(tuning_of(surrogate, recipe))._remembered

    assert remembered("causal") is not None
    assert remembered("causal", experts=torch.nn.Identity()) is None
    assert remembered("causal", "heads") is None and remembered("encoder-decoder") is None


def test_the_longest_unused_states_are_dropped_first(snapshots, monkeypatch):
    surrogate = loaded(snapshots, "causal")
    remembered, computed = RememberedStates(), []
    film, story, night = ([example] for example in encode_pairs(surrogate, [
        Pair((text,), "positive") for text in ("a film", "a story", "a night")
    ]))  # fmt: skip

    def compute(batch):
        computed.append([example.index for example in batch])
        return [torch.zeros(2, 3) for _ in batch]

    monkeypatch.setattr("fute.surrogate.states.MOST_REMEMBERED_BYTES", 2 * torch.zeros(2, 3).nbytes)
    for batch in (film, story, film, night, film, night, story):
        remembered.batch(surrogate, batch, compute)
    assert computed == [[0], [1], [2], [1]], "the story was dropped, as it was the longest unused"
    for other in (story, night):  # the film is computed and added again
        remembered.batch(surrogate, film + other, compute)
    assert remembered._bytes == sum(state.nbytes for state in remembered._states.values())


def test_labels_of_other_lengths_and_many_labels_are_left_alone(snapshots):
    """A label of another length would change the shape of the batch; a task of free text has no classes to try."""
    surrogate = loaded(snapshots, "causal")
    tuning, remembered = tuning_of(surrogate, TupateSettings(length=3, layers=1)), RememberedStates()
    texts = ["a good film", "a dull night", "a long story"]
    for labels in (["positive"] * 3, ["negative", "positive", "a good film"], ["negative"] * 3, ["a good film"] * 3):
        examples = encode_pairs(surrogate, [Pair((x,), y) for x, y in zip(texts, labels, strict=True)])
        alone, shared = (compute_states(tuning, examples, remembered=r) for r in (None, remembered))
        assert torch.equal(alone.states, shared.states) and torch.equal(alone.ids, shared.ids)
    many = [Pair((texts[0],), " ".join(texts[i % 3].split()[: 1 + i // 3])) for i in range(9)]
    compute_states(tuning, encode_pairs(surrogate, many), remembered=remembered)
    assert len(remembered._labels) <= 8


SHAPE = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}


def frozen_causal(kind: str, **options: object) -> Surrogate:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SHAPE | options)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    return Surrogate(model, None, settings("causal"), frozen=True)


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Qwen3", "Gemma2"])
def test_a_cut_model_gives_the_states_of_the_whole(kind):
    assert Cut(frozen_causal(kind), 3).lower is not None


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Granite", {"embedding_multiplier": 2.0}),
        ("Phi", {}),  # calls its last norm by another name
        ("Gemma2", {"sliding_window": 4}),  # every second layer has a window, shorter than the texts
        ("Qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}),
    ],
)
def test_a_model_whose_parts_are_not_the_whole_is_not_cut(kind, options):
    """Wrong states would give vectors, and no error."""
    with pytest.raises(ValueError, match=rf"{kind}ForCausalLM cannot be cut below its last 3 layers: .* layers: null"):
        Cut(frozen_causal(kind, **options), 3)


@pytest.mark.parametrize("tune", [lambda surrogate: Cut(surrogate, 1), lambda surrogate: LoraTuning(surrogate, seed=0)])
@pytest.mark.parametrize("kind", ["GPT2", "GPTNeoX"])
def test_a_model_without_layers_as_llamas_is_named(kind, tune):
    with pytest.raises(ValueError, match=rf"layers of {kind}\w+ cannot be tuned one by one"):
        tune(frozen_causal(kind))
