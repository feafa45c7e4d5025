"""TextEmb, TaskEmb and TuPaTE of labelled datasets on tiny models: against plain loops, and what must not matter."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from support.small_lms import (
    FAMILIES,
    SENTIMENT,
    SIMILAR,
    WHERE,
    mood_rows,
    pretrained,
    save_small,
    similar_rows,
    where_rows,
)
from transformers import AlbertConfig, AlbertModel, AutoTokenizer, DistilBertConfig, DistilBertModel

from fute.artifacts import gzip_bytes, jsonl_bytes, sha256_file
from fute.baselines import embed_dataset_step as vectors
from fute.baselines.components import component_cosines
from fute.baselines.embed_dataset_step import embed_dataset, first_rows
from fute.baselines.taskemb import taskemb_components
from fute.baselines.textemb import text_embedding
from fute.baselines.tupate import PrefixedBlackBox, tune_prefix
from fute.blackbox.encoding import Encoded, collate, encode, encode_rows
from fute.blackbox.heads import BlackBox, BlackBoxError, Pretrained, head_parameters, load_black_box, save_black_box
from fute.blackbox.layers import encoder_layers
from fute.config.lm_baselines import PrefixRecipe, TaskEmbBaseline, TextEmbBaseline, TupateBaseline
from fute.data.rows import BadRow, Row
from fute.embeddings import EmbeddingError, cosine, load
from fute.specs.dataset_vectors import DatasetVectorSpec
from fute.surrogate.checkpoint import Preempted

TASKS = {"mood": (SENTIMENT, mood_rows, 1), "similar": (SIMILAR, similar_rows, 2), "where": (WHERE, where_rows, 2)}
QUICK = PrefixRecipe(steps=12, batch_size=4, learning_rate=0.05, dropout=0.1)
LENGTH = 3


def box_of(dataset: str, family: str = "bert") -> BlackBox:
    task, _, inputs = TASKS[dataset]
    return pretrained(family).with_head(task, inputs=inputs, max_tokens=60, seed=1)


def prefixed_box(dataset: str) -> PrefixedBlackBox:
    box = box_of(dataset)
    return PrefixedBlackBox(box, head_parameters(box.model, pretrained("bert").tensors), length=LENGTH, init_seed=5)


def tuned(dataset: str, rows: list[Row], seed: int = 3, recipe: PrefixRecipe = QUICK):
    one = prefixed_box(dataset)
    before = {name: p.detach().clone() for name, p in one.box.model.named_parameters()}
    found = tune_prefix(
        one, encode_rows(one.box, rows), recipe, seed=seed, accelerator=Accelerator(cpu=True)
    )  # fmt: skip
    return one, before, found


# --- TextEmb


@pytest.mark.parametrize("family", FAMILIES)
def test_textemb_is_the_mean_over_texts_of_the_mean_over_tokens(family):
    box, rows = box_of("mood", family), mood_rows(7)
    texts = encode(box, [row.segments for row in rows])
    means = []
    for text in texts:
        ids = torch.tensor([text.input_ids])
        encoder = box.model.get_encoder() if family in ("t5", "bart") else box.model.base_model
        with torch.no_grad():
            means.append(encoder(input_ids=ids).last_hidden_state[0].mean(0))
    expected = torch.stack(means).mean(0).numpy()
    for size in (1, 3, 7):
        np.testing.assert_allclose(text_embedding(box, texts, batch_size=size), expected, rtol=1e-4, atol=1e-6)


def test_rows_are_the_first_of_a_seeded_order():
    rows = mood_rows(9)
    assert first_rows(rows, 4, 1) == first_rows(rows, None, 1)[:4]
    assert sorted(row.id for row in first_rows(rows, None, 1)) == [row.id for row in rows]
    assert first_rows(rows, 4, 1) != first_rows(rows, 4, 2)


# --- TaskEmb


def plain_components(box: BlackBox, batches: list[list[Encoded]]) -> dict[str, np.ndarray]:
    """By `backward`, with BERT's modules written out, and the activations' gradients summed token by token."""
    model, bert, totals = box.model.eval(), box.model.bert, {}

    def add(name: str, value: torch.Tensor) -> None:
        totals[name] = totals.get(name, 0) + value.detach().double().numpy()

    for batch in batches:
        inputs, kept, handles = collate(box, batch), {}, []

        def keep(name, output, kept=kept):
            kept[name] = output[0] if isinstance(output, tuple) else output
            kept[name].retain_grad()

        for index, layer in enumerate(bert.encoder.layer):
            for what, module in (("multihead_output", layer.attention.self), ("layer_output", layer.output)):
                name = f"layer.{index}.{what}"
                handles.append(module.register_forward_hook(lambda m, i, o, name=name, keep=keep: keep(name, o)))
        if bert.pooler is not None:
            handles.append(bert.pooler.register_forward_hook(lambda m, i, o, keep=keep: keep("cls_output", o)))
        model.zero_grad()
        if box.task.task == "span":
            start, end = zip(*(text.target for text in batch), strict=True)
            targets = {"start_positions": torch.tensor(start), "end_positions": torch.tensor(end)}
        elif box.task.task == "regression":
            targets = {"labels": torch.tensor([float(text.target) for text in batch])}
        else:
            targets = {"labels": torch.tensor([text.target for text in batch])}
        model(**inputs, **targets).loss.backward()
        for handle in handles:
            handle.remove()
        tokens = sum(len(text.input_ids) for text in batch)
        for name, parameter in bert.named_parameters():
            add(name, parameter.grad**2)
        for name, tensor in kept.items():
            total = torch.zeros(tensor.shape[-1])
            for row, text in enumerate(batch):
                for token in range(len(text.input_ids)) if tensor.ndim == 3 else [...]:
                    total += tensor.grad[row, token] if tensor.ndim == 3 else tensor.grad[row]
            add(name, total**2 / tokens)
    examples = sum(len(batch) for batch in batches)
    return {name: value / examples for name, value in totals.items()}


@pytest.mark.parametrize("dataset", TASKS)
def test_taskemb_equals_a_plain_loop(dataset):
    box = box_of(dataset)
    examples = encode_rows(box, TASKS[dataset][1](7))
    size = 1 if dataset == "where" else 3  # transformers' own loss of spans has padding in its softmax
    batches = [examples[start : start + size] for start in range(0, 7, size)]
    box.model.train()  # it is measured in eval mode all the same
    found, expected = taskemb_components(box, batches), plain_components(box, batches)
    assert found.keys() == expected.keys()
    layers = {f"layer.{i}.{what}" for i in range(3) for what in ("multihead_output", "layer_output")}
    below = {name for name, _ in box.model.bert.named_parameters()}
    assert found.keys() == layers | below | ({"cls_output"} if dataset != "where" else set())
    assert not any("classifier" in name or "qa_outputs" in name for name in found)
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=2e-3, atol=1e-9 * np.abs(expected[name]).max() + 1e-16)
        assert value.dtype == np.float32 and (value >= 0).all()


def test_taskemb_leaves_the_model_as_it_was():
    box = box_of("mood")
    box.model.bert.unused = torch.nn.Linear(2, 3)
    before = {name: p.detach().clone() for name, p in box.model.named_parameters()}
    found = taskemb_components(box, [encode_rows(box, mood_rows(4))])
    assert not any("unused" in name for name in found), "the loss does not depend on it"
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in box.model.named_parameters())
    assert not any(module._forward_hooks for module in box.model.modules())


# --- TuPaTE


def test_a_prefix_is_attended_to_in_every_layer():
    """By the formula of attention, with the prefix as keys and values before the text's own."""
    one = prefixed_box("mood")
    (text,) = encode_rows(one.box, mood_rows(1))
    model, inputs, prefix = one.box.model, collate(one.box, [text]), one.prefix.detach()
    with torch.no_grad():
        state = model.bert.embeddings(input_ids=inputs["input_ids"], token_type_ids=inputs["token_type_ids"])
        for layer, (key, value) in zip(model.bert.encoder.layer, prefix, strict=True):
            own = layer.attention.self

            def heads(x):
                return x[0].view(len(x[0]), 2, 8).transpose(0, 1)

            keys = torch.cat((key, heads(own.key(state))), 1)
            values = torch.cat((value, heads(own.value(state))), 1)
            weights = (heads(own.query(state)) @ keys.transpose(1, 2) / 8**0.5).softmax(-1)
            context = (weights @ values).transpose(0, 1).flatten(1)[None]
            attended = layer.attention.output(context, state)
            state = layer.output(layer.intermediate(attended), attended)
        logits = model.classifier(model.bert.pooler(state))
        expected = torch.nn.functional.cross_entropy(logits, torch.tensor([text.target]))
        assert one.losses([text]).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("dataset", TASKS)
def test_tuning_changes_prefix_and_head_alone(dataset):
    one, before, found = tuned(dataset, TASKS[dataset][1](8))
    moved = {name for name, p in one.box.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == set(one.head) and not any("encoder" in name or "embeddings" in name for name in moved)
    assert torch.equal(found.start, one.start) and found.prefix.shape == (3, 2, 2, LENGTH, 8)
    assert ((found.prefix - found.start).abs() > 0).all(), "every number of the prefix is trained"


def test_the_gradient_reaches_every_number_of_the_prefix_and_dropout_takes_some():
    one = prefixed_box("mood")
    examples = encode_rows(one.box, mood_rows(8))
    one.losses(examples).sum().backward()
    assert (one.prefix.grad != 0).all()
    one.prefix.grad = None
    torch.manual_seed(0)
    one.losses(examples[:1], dropout=0.5).sum().backward()
    assert 0.3 < (one.prefix.grad == 0).float().mean() < 0.7
    one.losses(examples, dropout=0.5).sum().backward()
    assert (one.prefix.grad == 0).float().mean() < 0.05, "each text has a mask of its own"


def test_the_same_seed_gives_the_same_bytes_and_datasets_share_their_start():
    rows = mood_rows(8)
    found = [tuned("mood", rows, seed=seed)[2] for seed in (3, 3, 4)]
    assert torch.equal(found[0].prefix, found[1].prefix) and not torch.equal(found[0].prefix, found[2].prefix)
    assert torch.equal(found[0].start, tuned("where", where_rows(8))[2].start)


def test_padding_does_not_matter():
    one = prefixed_box("mood")
    short, long = encode_rows(
        one.box, [Row("m/0", ("good",), "positive"), Row("m/1", ("a dull film " * 4,), "negative")]
    )
    together = one.losses([short, long])
    for text, loss in zip((short, long), together.tolist(), strict=True):
        assert one.losses([text]).item() == pytest.approx(loss, rel=1e-5)


# --- models of other shapes


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_a_model_that_is_no_encoder_is_refused(family):
    kind = "encoder-decoder" if family == "t5" else "decoder"
    with pytest.raises(BlackBoxError, match=rf"{family} \(.*\) is no encoder, but an {kind} model; transfer with"):
        encoder_layers(box_of("mood", family))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DistilBertConfig(dim=16, hidden_dim=24, n_layers=2, n_heads=2), r"layer 0 of distilbert .* has 0 modules of"),
        (
            AlbertConfig(hidden_size=16, embedding_size=8, intermediate_size=24, num_attention_heads=2),
            "no list of 12 blocks in AlbertForSequenceClassification",
        ),
    ],
)
def test_an_encoder_of_another_shape_is_refused(tmp_path, config, message):
    tokenizer = AutoTokenizer.from_pretrained(save_small(tmp_path / "bert", "bert"))
    config.vocab_size = len(tokenizer)
    kind = AlbertModel if isinstance(config, AlbertConfig) else DistilBertModel
    kind(config).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    box = Pretrained(tmp_path / "other").with_head(SENTIMENT, inputs=1, max_tokens=60, seed=1)
    with pytest.raises(BlackBoxError, match=message):
        encoder_layers(box)


# --- the step


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_small(Path("model"), "bert")
    Path("model.lock.json").write_text("{}")
    for name, (_, rows, _) in TASKS.items():
        Path(f"{name}.jsonl.gz").write_bytes(gzip_bytes(jsonl_bytes([row.to_json() for row in rows(8)])))
        save_black_box(box_of(name), Path(f"tuned/{name}"))
        Path(f"tuned/{name}.lock.json").write_text(f'"{name}"')
    return tmp_path


def run(
    *datasets: str, folder: str = "out", batch: str = "0a", of: str | None = None, **changes
) -> dict[str, dict[str, Path]]:
    """Embed datasets in one process. of: whose fine-tuned model is given. Returns dataset -> method -> file."""
    tupate = TupateBaseline(cr=QUICK, qa=QUICK.model_dump(), length=LENGTH)
    items = [{"key": name, "task": TASKS[name][0], "max_tokens": 60, "eval_batch_size": 4} for name in datasets]
    given = {
        "model": "m", "seed": 42, "items": items, "methods": ("textemb", "taskemb", "tupate"),
        "textemb": TextEmbBaseline(), "tupate": tupate, "taskemb": TaskEmbBaseline(batch_size=4, span_batch_size=3),
    }  # fmt: skip
    spec = DatasetVectorSpec(**given | changes)
    files = {f"train:{name}": Path(f"{name}.jsonl.gz") for name in datasets}
    if "taskemb" in spec.methods:
        files |= {f"finetuned:{name}": Path(f"tuned/{of or name}.lock.json") for name in datasets}
    output = Path(f"{folder}/{batch}.lock.json")
    embed_dataset(spec, model=Path("model"), lock=Path("model.lock.json"), files=files, output=output)
    cells = {name: next(Path(f"{folder}/{batch}").glob(f"*/{name}")) for name in datasets}
    return {name: {m: cell / f"{m}.safetensors" for m in spec.methods} for name, cell in cells.items()}


def test_the_step_writes_one_file_a_method_that_can_be_compared(project):
    made = run(*TASKS)
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "0a", "0a.keys", "0a.keys.prov.json", "0a.lock.json", "0a.lock.json.prov.json"
    ]  # fmt: skip
    assert {path for path in Path("out/0a").rglob("*") if path.is_file()} == {
        path for paths in made.values() for path in paths.values()
    }
    for method, size in (("textemb", 16), ("tupate", 2 * 16 * LENGTH)):
        one, other = (load(made[name][method]) for name in ("mood", "where"))
        assert one.vector.shape == (size,) and -1 <= cosine(one, other) < 1
    assert load(made["mood"]["tupate"]).meta["relative_distance"] > 0.5
    cosines = dict(component_cosines({name: made[name]["taskemb"] for name in TASKS}))
    assert len(cosines) == len(list(load_black_box(Path("tuned/mood")).model.bert.named_parameters())) + 3 * 2 + 1
    assert np.isnan(cosines["cls_output"][2]).all() and not np.isnan(cosines["layer.2.layer_output"]).any()


def test_the_step_gives_the_same_bytes_and_goes_on_after_sigterm(project, monkeypatch):
    """Alone, and as the second dataset of a process that is stopped within its TuPaTE."""
    first = {method: sha256_file(path) for method, path in run("mood")["mood"].items()}
    done = []

    class Stopped(vectors.TrainingProgress):
        def __call__(self, steps, total, loss):
            done.append(steps)
            if len(done) == 17:
                os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(vectors, "TrainingProgress", Stopped)
        with pytest.raises(Preempted, match="after step 5 of 12"):
            run("where", "mood", folder="again")
        assert not list(Path("again").glob("*.json"))
        finished = {path.parent.name + path.name for path in Path("again/0a").rglob("*.safetensors")}
        assert finished == {f"{name}.safetensors" for name in (
            "wheretextemb", "wheretaskemb", "wheretupate", "moodtextemb", "moodtaskemb")}  # fmt: skip
        other = run("mood", folder="again", batch="0b")["mood"]
        assert done[17:] == [6, 7, 8, 9, 10, 11, 12], "another batch takes it"
        again = run("where", "mood", folder="again")["mood"]
    assert done[24:] == [6, 7, 8, 9, 10, 11, 12]
    assert {method: sha256_file(path) for method, path in other.items()} == first
    assert {method: sha256_file(path) for method, path in again.items()} == first
    assert not list(Path("again").rglob("*.training"))
    records = [*Path("again").glob("*.keys.prov.json"), *Path().glob("out/*.keys.prov.json")]
    assert {path: json.loads(path.read_text())["run"].get("resumed", False) for path in records} == {
        path: path.parent.name == "again" for path in records
    }, "whose times are not those of all their work"


def test_methods_and_settings_shape_the_vectors_and_nothing_else_does(project):
    whole = run("mood", folder="a")["mood"]
    fewer = run("mood", folder="b", methods=("textemb",), textemb=TextEmbBaseline(rows=3))["mood"]
    assert set(fewer) == {"textemb"} and load(fewer["textemb"]).meta["rows"] == 3
    other = run("mood", folder="c", taskemb=TaskEmbBaseline(batch_size=3, rows=6))["mood"]
    assert sha256_file(other["tupate"]) == sha256_file(whole["tupate"])
    assert sha256_file(other["taskemb"]) != sha256_file(whole["taskemb"])
    start = run("mood", folder="d", tupate=TupateBaseline(cr=QUICK, length=LENGTH, init_seed=6))["mood"]
    with pytest.raises(EmbeddingError, match="init_seed: 42 and 6"):
        cosine(load(whole["tupate"]), load(start["tupate"]))


def test_what_cannot_be_embedded_is_named(project):
    with pytest.raises(BlackBoxError, match="tuned/where was fine-tuned on where, not on mood"):
        run("mood", of="where")
    wrong = Row("mood/8", ("odd",), "neutral").to_json()
    Path("mood.jsonl.gz").write_bytes(gzip_bytes(jsonl_bytes([*(r.to_json() for r in mood_rows(8)), wrong])))
    with pytest.raises(BadRow, match=r"mood/8, field 'label': is 'neutral', which is no class"):
        run("mood", folder="other")
    Path("mood.jsonl.gz").write_bytes(gzip_bytes(b""))
    with pytest.raises(BlackBoxError, match="mood: there are no rows to learn from"):
        run("mood", folder="empty")
