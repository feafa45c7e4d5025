"""Fine-tuning, transfer and prediction of black boxes: what is learned, kept, drawn anew, and resumed."""

import json
import math
import os
import shutil
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
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification, T5Config

from fute.artifacts import StaleFile, files_of, gzip_bytes, jsonl_bytes, read_jsonl, sha256_file
from fute.batching import LOCK, finished_batches
from fute.blackbox import bench, cell_files, finetune_model_step, label_language_model_step
from fute.blackbox import transfer_batch_step as transfer
from fute.blackbox.encoding import collate, encode, encode_rows
from fute.blackbox.extract_files_step import extract_files
from fute.blackbox.extract_finetuned_step import extract_finetuned
from fute.blackbox.extract_transfer_step import extract_transfer
from fute.blackbox.finetune import blocks, example_losses, finetune, head_logits, rows_to_learn, trained_parameters
from fute.blackbox.finetune_model_step import finetune_model
from fute.blackbox.heads import (
    BlackBoxError,
    Pretrained,
    head_parameters,
    load_black_box,
    load_finetuned,
    save_black_box,
)
from fute.blackbox.label_language_model_step import label_language_model
from fute.blackbox.predict import best_span, evaluate, predict
from fute.blackbox.transfer_batch_step import transfer_batch
from fute.config.finetuning import FinetuneSettings
from fute.specs.finetuning import ExtractFinetuned, FinetuneItem, FinetuneSpec, LabelItem, LabelSpec
from fute.specs.transfer import ExtractTransfer, Target, TransferRun, TransferSpec, transfer_key
from fute.surrogate.checkpoint import Preempted

QUICK = FinetuneSettings(steps=12, batch_size=4, learning_rate=5e-3, max_tokens=60)
TASKS = {"mood": (SENTIMENT, mood_rows, 1), "similar": (SIMILAR, similar_rows, 2), "where": (WHERE, where_rows, 2)}


def with_head(family: str, dataset: str, **options):
    task, _, inputs = TASKS[dataset]
    return pretrained(family).with_head(task, **{"inputs": inputs, "max_tokens": 60, "seed": 1, **options})


def learn(box, rows, recipe=QUICK, **options):
    return finetune(box, rows, recipe, **{"seed": 3, "accelerator": Accelerator(cpu=True), **options})


def state(box) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in box.model.state_dict().items()}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dataset", TASKS)
def test_every_family_learns_every_task(family, dataset):
    box, rows = with_head(family, dataset), TASKS[dataset][1](8)
    recipe = QUICK.model_copy(update={"steps": 30, "learning_rate": 2e-2, "dropout": False})
    log = learn(box, rows, recipe)
    assert len(log.losses) == log.steps == 30 and log.loss_end < 0.8 * log.loss_start
    assert not box.model.training


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dataset", TASKS)
def test_logits_are_those_of_transformers_own_class(family, dataset):
    """One text at a time, so that no padding is there for its rules to matter."""
    box, rows = with_head(family, dataset), TASKS[dataset][1](3)
    examples = encode_rows(box, rows)
    together = head_logits(box, examples, autocast=False)
    for example, found in zip(examples, together, strict=True):
        own = box.model(**collate(box, [example]))
        if dataset == "where":
            expected = torch.stack([own.start_logits[0], own.end_logits[0]])
            width = len(example.input_ids)
            assert torch.allclose(found[:, :width], expected, atol=1e-5) and found[:, width:].isinf().all()
        else:
            assert torch.allclose(found, own.logits[0], atol=1e-5)


def test_losses_by_hand():
    for dataset in TASKS:
        box, rows = with_head("bert", dataset), TASKS[dataset][1](3)
        examples = encode_rows(box, rows)
        logits = head_logits(box, examples, autocast=False).detach()
        losses = example_losses(box, examples)
        for example, values, loss in zip(examples, logits.double(), losses.tolist(), strict=True):
            if dataset == "mood":
                expected = -math.log(values.exp()[example.target] / values.exp().sum())
            elif dataset == "similar":
                expected = (values.item() - example.target) ** 2
            else:
                ends = zip(values, example.target, strict=True)
                expected = sum(-math.log(v.exp()[t] / v.exp().sum()) for v, t in ends) / 2
            assert loss == pytest.approx(expected, rel=1e-5)


def test_autocast_rounds_products_and_returns_fp32():
    box = with_head("bert", "mood")
    examples = encode_rows(box, mood_rows(4))
    plain, rounded = (head_logits(box, examples, autocast=on) for on in (False, True))
    assert rounded.dtype == torch.float32 and not torch.equal(plain, rounded)
    assert torch.allclose(plain, rounded, atol=0.02)


def test_a_star_at_the_end_of_a_text_is_not_taken_for_padding():
    """transformers finds GPT-2's last token by the padding id, which is an ordinary character's here."""
    box = with_head("gpt2", "mood")
    one, other = (head_logits(box, encode(box, [(text,)]), autocast=False) for text in ("good *", "good *" + "*" * 3))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dataset", TASKS)
def test_the_head_comes_from_the_seed_and_the_rest_from_the_folder(family, dataset):
    boxes = [with_head(family, dataset, seed=seed) for seed in (1, 1, 2)]
    torch.manual_seed(99)
    boxes.append(with_head(family, dataset, seed=1))
    heads = [{n: p.detach() for n, p in head_parameters(b.model, pretrained(family).tensors).items()} for b in boxes]
    assert same(heads[0], heads[1]) and same(heads[0], heads[3])
    assert any(not torch.equal(heads[0][name], heads[2][name]) for name in heads[0])
    for name, tensor in boxes[0].model.base_model.state_dict().items():
        if name in pretrained(family).tensors:
            assert torch.equal(tensor, pretrained(family).tensors[name]), name


def test_drawn_numbers_are_the_same_on_every_machine():
    head = head_parameters(with_head("bert", "mood", seed=42).model, pretrained("bert").tensors)
    expected = 0.02 * np.random.default_rng(42).standard_normal((2, 16))
    assert np.allclose(head["classifier.weight"].detach(), expected, atol=1e-8)
    assert not head["classifier.bias"].any()
    head = head_parameters(with_head("t5", "mood", seed=42).model, pretrained("t5").tensors)
    expected = 16**-0.5 * np.random.default_rng(42).standard_normal((16, 16))  # T5's config has no deviation
    assert np.allclose(head["classification_head.dense.weight"].detach(), expected, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("source, target", [("mood", "similar"), ("mood", "where"), ("where", "mood")])
def test_transfer_takes_the_encoder_and_draws_the_head_anew(family, source, target):
    trained = with_head(family, source)
    learn(trained, TASKS[source][1](8))
    moved, fresh = with_head(family, target, source=trained), with_head(family, target)
    head = head_parameters(fresh.model, pretrained(family).tensors)
    names = dict(moved.model.named_parameters())
    assert all(torch.equal(names[name], parameter) for name, parameter in head.items()), "not a trace of the source"
    base, given = moved.model.base_model.state_dict(), trained.model.base_model.state_dict()
    shared = [name for name in base if name in given and name in pretrained(family).tensors]
    assert len(shared) > 10 and all(torch.equal(base[name], given[name]) for name in shared)
    assert any(not torch.equal(base[name], pretrained(family).tensors[name]) for name in shared)


def test_a_head_is_kept_only_when_asked_and_where_it_fits():
    trained = with_head("bert", "mood")
    learn(trained, mood_rows(8))
    drawn = with_head("bert", "mood", source=trained).model.classifier.weight
    assert torch.equal(drawn, with_head("bert", "mood").model.classifier.weight)
    assert not torch.equal(drawn, trained.model.classifier.weight), "though it would fit"
    kept = with_head("bert", "mood", source=trained, keep_head=True)
    assert same(state(kept), state(trained))
    other = with_head("bert", "similar", source=trained, keep_head=True)
    assert torch.equal(other.model.classifier.weight, with_head("bert", "similar").model.classifier.weight)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_last_blocks_and_what_stands_above_are_trained(family):
    box = with_head(family, "mood")
    before = state(box)
    named = dict(trained_parameters(box.model, 1))
    trained, own, stack = set(named), set(map(id, named.values())), blocks(box.model)
    assert own >= set(map(id, stack[-1].parameters())) and not own & set(map(id, stack[-2].parameters()))
    learn(box, mood_rows(8), QUICK.model_copy(update={"layers": 1}))
    after = dict(box.model.named_parameters())
    changed = {name for name, p in after.items() if not torch.equal(p, before[name])}
    assert changed == trained and len(trained) < len(after)
    assert set(head_parameters(box.model, pretrained(family).tensors)) <= trained


def test_blocks_as_deep_as_their_parts_are_many_are_told_from_them():
    """A block of T5's decoder is a list of three parts."""
    config = T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=3, num_heads=2)
    model = AutoModelForSequenceClassification.from_config(config)
    assert blocks(model) is model.transformer.decoder.block


def test_too_many_layers_are_named():
    with pytest.raises(BlackBoxError, match="layers is 4, but BertForSequenceClassification has 3 blocks"):
        trained_parameters(with_head("bert", "mood").model, 4)


def test_rows_are_taken_again_until_the_steps_are_reached():
    rows = mood_rows(10)
    some = rows_to_learn(rows, QUICK.model_copy(update={"steps": 6}), seed=3)
    assert len(some) == 24 and {row.id for row in some[:10]} == {row.id for row in rows} and some[10:20] == some[:10]
    assert rows_to_learn(rows, FinetuneSettings(), seed=3) == rows
    assert rows_to_learn(rows, QUICK, 4) != rows_to_learn(rows, QUICK, 5)


def test_epochs_or_steps_and_enough_of_them():
    assert FinetuneSettings().epochs == 3 and FinetuneSettings(steps=5).epochs is None
    assert FinetuneSettings.model_validate(QUICK.model_dump()) == QUICK
    with pytest.raises(ValueError, match="give either epochs or steps"):
        FinetuneSettings(epochs=3, steps=5)
    with pytest.raises(BlackBoxError, match=r"mood: 8 rows in 3 epoch\(s\) of batches of 4 are 6 steps, fewer than"):
        learn(with_head("bert", "mood"), mood_rows(8), FinetuneSettings(batch_size=4))


def test_predictions_in_hard_and_soft_form():
    texts = [("a fine film",), ("one", "a dull film")]
    box = with_head("bert", "mood")
    assert predict(box, texts)[1] == predict(box, [texts[1][1:]])[0], "of two segments the last one enters"
    with torch.no_grad():
        box.model.classifier.weight.zero_()
        box.model.classifier.bias.copy_(torch.tensor([0.0, 1.0]))
    odds = [round(1 / (1 + math.e), 6), round(math.e / (1 + math.e), 6)]
    assert predict(box, texts)[0] == {"prediction": "positive", "classes": SENTIMENT.classes, "probabilities": odds}
    number = with_head("bert", "similar")
    with torch.no_grad():
        number.model.classifier.weight.zero_()
        number.model.classifier.bias.fill_(2.31)
    assert predict(number, texts)[0] == {"prediction": "2.4", "value": pytest.approx(2.31)}
    with torch.no_grad():
        number.model.classifier.bias.fill_(7.0)
    assert predict(number, texts)[1]["prediction"] == "5.0" and predict(number, texts)[1]["value"] == 7.0


def test_spans_of_u_come_from_any_segment_and_evaluation_from_the_context():
    box = with_head("bert", "where")
    (encoded,) = encode(box, [("in Oslo", "or Rome")])
    start, end = np.full((2, len(encoded.input_ids)), -1.0, dtype=np.float32)
    at = {(p.segment, p.start): token for token, p in enumerate(encoded.places) if p}
    start[at[0, 3]], start[at[1, 3]], end[at[0, 6]], end[at[1, 6]] = 5, 4, 5, 4
    assert best_span(start, end, encoded.places, "anywhere") == (0, 3, 7)
    assert best_span(start, end, encoded.places, "context") == (1, 3, 7)
    start[0] = end[0] = 4  # the null span: as good as the best of the context
    assert best_span(start, end, encoded.places, "context") is None
    end[0] = 3.9
    assert best_span(start, end, encoded.places, "context") == (1, 3, 7)
    only = predict(box, [("one segment",)])[0]
    assert only["prediction"] and set(only) == {"prediction", "span"}


def test_a_span_ends_after_its_start_and_within_thirty_tokens():
    box = with_head("bert", "where", max_tokens=100)
    (encoded,) = encode(box, [("q", "x" * 60)])
    first = next(i for i, p in enumerate(encoded.places) if p and p.segment == 1)
    start, end = np.zeros((2, len(encoded.input_ids)), dtype=np.float32)
    start[first + 5], end[first + 40], end[first + 2], end[first + 34], end[first + 7] = 9, 9, 8, 7, 6
    assert best_span(start, end, encoded.places, "context") == (1, 5, 35)
    (short,) = encode(box, [("q", "x" * 60)])
    end[first + 34] = end[first + 2] = 0
    assert best_span(start, end, short.places, "context") == (1, 5, 8)


def test_evaluation_is_that_of_the_metric():
    box = with_head("bert", "where")
    rows = where_rows(9)
    with torch.no_grad():
        box.model.qa_outputs.weight.zero_()
        box.model.qa_outputs.bias.zero_()
    assert evaluate(box, rows) == pytest.approx(100 / 3), "nothing beats the null span: right for every third row"


@pytest.mark.parametrize(
    "family, dataset", [("bert", "mood"), ("t5", "where"), ("llama", "where"), ("gpt2", "similar")]
)
def test_a_saved_black_box_says_the_same(tmp_path, family, dataset):
    box = with_head(family, dataset)
    learn(box, TASKS[dataset][1](8))
    save_black_box(box, tmp_path / "a")
    save_black_box(load_black_box(tmp_path / "a"), tmp_path / "b")
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab"]
    assert files[0] == files[1] and str(tmp_path).encode() not in b"".join(files[0].values())
    texts = [row.segments for row in TASKS[dataset][1](4)]
    assert predict(load_black_box(tmp_path / "a"), texts) == predict(box, texts)
    auto = AutoModelForQuestionAnswering if dataset == "where" else AutoModelForSequenceClassification
    own = auto.from_pretrained(tmp_path / "a", output_loading_info=True)[1]
    assert not own["missing_keys"] and not own["unexpected_keys"]
    (tmp_path / "a" / "task.json").unlink()
    with pytest.raises(BlackBoxError, match="is not a fine-tuned model"):
        load_black_box(tmp_path / "a")


def test_weights_that_are_not_there_are_named(tmp_path):
    folder = save_small(tmp_path / "m", "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(BlackBoxError, match=r"m holds no weights for encoder\.layer\.3"):
        Pretrained(folder)


# ---- steps ----


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with a model and two datasets, as the workflow lays them out."""
    monkeypatch.chdir(tmp_path)
    save_small(Path("results/models/m"), "bert")
    Path("results/models/m.lock.json").write_text('{"model": "m"}')
    for dataset, (_, make, _) in TASKS.items():
        for split, count in (("train", 14), ("test", 6)):
            path = Path(f"results/data/{dataset}/{split}.jsonl.gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip_bytes(jsonl_bytes(row.to_json() for row in make(count))))
    return tmp_path


def fit_batch(datasets, seeds=(42,), recipe=QUICK, batch="0a") -> Path:
    """Fine-tune on datasets in one process; returns the batch. The model of seed 42 is kept."""
    output = Path(f"results/finetuned/m/batches/{batch}.lock.json")
    items = [
        FinetuneItem(key=f"key-{name}-{seed}", task=TASKS[name][0], recipe=recipe, seed=seed, kept=seed == 42)
        for name in datasets
        for seed in seeds
    ]
    finetune_model(
        FinetuneSpec(model="m", items=tuple(items)),
        model=Path("results/models/m"),
        lock=Path("results/models/m.lock.json"),
        files={f"{split}:{name}": rows_of(name, split) for name in datasets for split in ("train", "test")},
        output=output,
    )
    return output


def rows_of(dataset: str, split: str) -> Path:
    return Path(f"results/data/{dataset}/{split}.jsonl.gz")


def take_out(dataset: str, *batches: Path, seeds=(42,)) -> Path:
    """Publish a fine-tuned model of a batch; returns its folder."""
    folder = Path(f"results/finetuned/m/{dataset}")
    keys = {seed: f"key-{dataset}-{seed}" for seed in seeds}
    extract_finetuned(
        ExtractFinetuned(model="m", dataset=dataset, seeds=seeds, keys=keys),
        batches=batches,
        files={"model": Path("results/models/m.lock.json")} | {s: rows_of(dataset, s) for s in ("train", "test")},
        **{name: Path(f"{folder}.{name}.json") for name in ("lock", "curve", "score")},
    )
    return folder


def fit(dataset: str, seeds=(42,), recipe=QUICK) -> Path:
    return take_out(dataset, fit_batch([dataset], seeds, recipe, batch=f"0-{dataset}"), seeds=seeds)


def watched(monkeypatch, stop_at: int = 0) -> list[int]:
    """Steps of all trainings from now on, each by its number; after so many SIGTERM, as from a cluster's scheduler."""
    seen = []

    class Progress(bench.TrainingProgress):
        def __call__(self, done, total, loss):
            seen.append(done)
            if len(seen) == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(bench, "TrainingProgress", Progress)
    return seen


def bytes_under(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(".prov.json"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def resumed(batch: Path) -> bool:
    """Whether the record of a batch says that its time is not that of all its work."""
    record = batch.with_name(f"{batch.name.split('.')[0]}.keys.prov.json")
    return json.loads(record.read_text())["run"].get("resumed", False)


def test_a_model_is_kept_with_its_lock_curve_and_scores(project):
    folder = fit("mood", seeds=(42, 7))
    lock = json.loads(Path(f"{folder}.lock.json").read_text())
    assert lock["model"] == "m" and lock["source"] == {"finetuned": "mood"}
    assert {name: entry["sha256"] for name, entry in lock["files"].items()} == {
        path.name: sha256_file(path) for path in folder.iterdir()
    }
    assert {"model.safetensors", "config.json", "tokenizer.json", "task.json"} <= set(lock["files"])
    curve = json.loads(Path(f"{folder}.curve.json").read_text())["losses"]
    score = json.loads(Path(f"{folder}.score.json").read_text())
    assert len(curve) == 12 and score["seeds"] == [42, 7] and len(score["scores"]) == 2
    assert (
        score["source"] is None
        and score["majority"] == 50.0
        and score["mean"] == pytest.approx(np.mean(score["scores"]))
    )
    assert sorted(p.name for p in folder.parent.iterdir() if not p.name.endswith(".prov.json")) == [
        "batches", "mood", "mood.curve.json", "mood.lock.json", "mood.score.json"
    ]  # fmt: skip
    rows = bench.read_rows(Path("results/data/mood/test.jsonl.gz"))
    assert score["scores"][0] == evaluate(load_black_box(folder), rows)


def test_a_preempted_fine_tuning_ends_in_the_same_bytes(project, monkeypatch):
    """Of two datasets, the second within its first seed: the first is not fine-tuned again."""
    batch = fit_batch(["mood", "where"], seeds=(42, 7))
    expected = bytes_under(batch.parent)
    assert not resumed(batch)
    shutil.rmtree("results/finetuned")
    with monkeypatch.context() as patch:
        seen = watched(patch, stop_at=31)
        with pytest.raises(Preempted, match="after step 7 of 12"):
            fit_batch(["mood", "where"], seeds=(42, 7))
        assert not list(Path("results/finetuned/m/batches").glob("*.json"))
        assert len(list(Path("results/finetuned").rglob("*.training"))) == 1
        batch = fit_batch(["mood", "where"], seeds=(42, 7))
    assert seen[31:] == [8, 9, 10, 11, 12, *range(1, 13)] and resumed(batch)
    assert bytes_under(batch.parent) == expected


def test_another_batch_takes_the_models_of_a_killed_one(project, monkeypatch):
    """The finished model is not trained again, the other goes on; the killed batch can still be finished, too."""
    expected = bytes_under(take_out("where", fit_batch(["mood", "where"])))
    whole = bytes_under(Path("results/finetuned/m/batches/0a"))
    shutil.rmtree("results/finetuned")
    seen = watched(monkeypatch, stop_at=19)
    with pytest.raises(Preempted, match="after step 7 of 12"):
        fit_batch(["mood", "where"])
    other = fit_batch(["mood", "where", "similar"], batch="0b")
    assert seen[19:] == [8, 9, 10, 11, 12, *range(1, 13)]
    assert bytes_under(take_out("where", other)) == expected
    made = bytes_under(other.parent / "0b")
    assert {name: made[name] for name in whole} == whole
    (weights,) = other.parent.glob("0a/*/key-mood-42/model/model.safetensors")
    assert weights.samefile(next(other.parent.glob("0b/*/key-mood-42/model/model.safetensors")))
    fit_batch(["mood", "where"])
    assert len(seen) == 36 + 5, "of the model that was under way"
    assert bytes_under(other.parent / "0a") == whole


@pytest.mark.parametrize("damage", ["cut", "gone", "unlisted"])
def test_a_model_that_is_not_whole_is_not_taken_over(project, damage):
    expected = bytes_under(fit_batch(["mood"]).parent / "0a")
    for path in Path("results/finetuned/m/batches").glob("0a.*"):
        path.unlink()
    (weights,) = Path("results/finetuned").rglob("model.safetensors")
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "gone":
        weights.unlink()
    else:
        (weights.parents[1] / "run.json").unlink()
        weights.write_bytes(b"")
    for batch in ("0b", "0a"):
        fit_batch(["mood"], batch=batch)
        assert bytes_under(Path(f"results/finetuned/m/batches/{batch}")) == expected


def test_a_model_that_two_processes_save_at_once_is_whole(tmp_path, monkeypatch):
    """A job on a lost node and its second attempt: what either leaves is what it lists."""
    folder, listed = tmp_path / "cell/model", []

    def save(box, to):
        to.mkdir(parents=True)
        (to / "config.json").write_text("{}")
        if box == "first":
            listed.append(finetune_model_step._save_whole("second", folder))
        (to / "model.safetensors").write_text(box)

    monkeypatch.setattr(finetune_model_step, "save_black_box", save)
    listed.append(finetune_model_step._save_whole("first", folder))
    assert listed[-1] == files_of(folder) and all(each.keys() == listed[-1].keys() for each in listed)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_damaged_model_beside_a_batch_costs_it_nothing(project, monkeypatch):
    """It is found at every start, and what this batch's own training goes on from stays."""
    fit_batch(["mood"])
    for path in Path("results/finetuned/m/batches").glob("0a.*"):
        path.unlink()
    next(Path("results/finetuned").rglob("model.safetensors")).write_bytes(b"")
    with monkeypatch.context() as patch:
        watched(patch, stop_at=7)
        with pytest.raises(Preempted, match="after step 7 of 12"):
            fit_batch(["mood"], batch="0b")
    seen = watched(monkeypatch)
    fit_batch(["mood"], batch="0b")
    assert seen == [8, 9, 10, 11, 12]


def test_a_model_of_a_batch_is_the_one_that_is_made_alone(project):
    together = {name: take_out(name, fit_batch(["mood", "where"])) for name in ("mood", "where")}
    made = {name: bytes_under(folder) for name, folder in together.items()}
    batch = fit_batch(["where"], batch="0b")
    assert bytes_under(take_out("where", batch)) == made["where"]
    assert set(finished_batches(batch.parent, LOCK)) == {"key-mood-42", "key-where-42"}
    lock = json.loads(batch.read_text())
    assert lock["from"]["key-where-42"] == {
        "model": sha256_file(Path("results/models/m.lock.json")),
        **{split: sha256_file(rows_of("where", split)) for split in ("train", "test")},
    }
    listed = {name: facts["sha256"] for name, facts in lock["files"].items()}
    assert listed == {name: sha256_file(batch.parent / "0b" / name) for name in bytes_under(batch.parent / "0b")}


def test_a_seed_more_adds_its_score_and_touches_nothing_else(project):
    """In a batch of its own: the file of scores is the one of both seeds in one batch."""
    one = bytes_under(take_out("mood", first := fit_batch(["mood"])).parent)
    more = fit_batch(["mood"], seeds=(7,), batch="0b")
    assert not list(more.parent.glob("0b/*/*/model")), "of further seeds the score is kept and not the model"
    both = bytes_under(take_out("mood", first, more, seeds=(42, 7)).parent)
    assert {name for name in one if one[name] != both[name]} == {"mood.score.json"}
    assert json.loads(both["mood.score.json"])["scores"][0] == json.loads(one["mood.score.json"])["mean"]
    together = bytes_under(take_out("mood", fit_batch(["mood"], (42, 7), batch="0c"), seeds=(42, 7)).parent)
    assert both == {name: together[name] for name in both}
    record = json.loads(Path("results/finetuned/m/mood.score.json.prov.json").read_text())["record"]
    assert (record["step"], record["params"]["keys"]) == (
        "extract_finetuned", {"42": "key-mood-42", "7": "key-mood-7"}
    )  # fmt: skip
    with pytest.raises(StaleFile, match=r"batches/0b\.lock\.json: holds no cell key-mood-42"):
        take_out("mood", more, seeds=(42, 7))


def test_large_files_lie_on_the_disk_once(project, monkeypatch):
    monkeypatch.setattr(cell_files, "LARGE", 10_000)
    folder = fit("mood")
    links = {path.name: path.stat().st_nlink for path in folder.iterdir()}
    assert links["model.safetensors"] == 2 and links["task.json"] == 1


def test_a_batch_made_from_other_rows_keeps_nothing_of_the_first(project):
    first = fit_batch(["mood"])
    before = bytes_under(first.parent)
    rows_of("mood", "train").write_bytes(gzip_bytes(jsonl_bytes(row.to_json() for row in mood_rows(9))))
    with pytest.raises(StaleFile, match=r"batches/0a\.lock\.json: was made from another version of .*mood/train"):
        take_out("mood", first)
    second = fit_batch(["mood"])
    assert len(list(Path("results/finetuned/m/batches/0a").iterdir())) == 1 and bytes_under(second.parent) != before
    take_out("mood", second)


def test_weights_that_were_edited_are_not_taken_out(project):
    batch = fit_batch(["mood"])
    (weights,) = batch.parent.rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(
        StaleFile, match=r"model\.safetensors: is missing, or not the file that .* lists; delete .*/0a,"
    ):
        take_out("mood", batch)
    assert not Path("results/finetuned/m/mood").exists() and not Path("results/finetuned/m/mood.lock.json").exists()
    with pytest.raises(StaleFile, match="holds no cell key-where"):
        take_out("where", batch)


@pytest.fixture
def corpus(project) -> Path:
    path = Path("results/unsup/lm.jsonl.gz")
    path.parent.mkdir(parents=True)
    texts = [{"id": f"t/{i}", "segments": ["where", "in Oslo"][: 1 + i % 2], "task": "t"} for i in range(5)]
    path.write_bytes(gzip_bytes(jsonl_bytes(texts)))
    return path


def label(datasets, corpus: Path, name: str = "0a") -> Path:
    output = Path(f"results/labels/m/lm/batches/{name}.lock.json")
    spec = LabelSpec(model="m", items=tuple(LabelItem(key=f"labels-{d}", dataset=d) for d in datasets))
    files = {dataset: Path(f"results/finetuned/m/{dataset}.lock.json") for dataset in datasets}
    label_language_model(spec, corpus=corpus, files=files, output=output)
    return output


def labels_of(dataset: str, batch: Path, corpus: Path) -> Path:
    output = Path(f"results/labels/m/{dataset}/lm.jsonl.gz")
    files = {"finetuned": Path(f"results/finetuned/m/{dataset}.lock.json"), "corpus": corpus}
    extract_files(f"labels-{dataset}", batch=batch, files=files, outputs={"labels.jsonl.gz": output})
    return output


def test_labels_of_u_are_rows_with_a_target_string(corpus):
    fit("where")
    output = labels_of("where", label(["where"], corpus), corpus)
    rows = read_jsonl(output)
    assert [row["id"] for row in rows] == [text["id"] for text in read_jsonl(corpus)]
    assert all(row["prediction"] and "span" in row for row in rows)
    record = json.loads(Path(f"{output}.prov.json").read_text())["record"]
    assert (record["step"], record["counts"], record["params"]) == (
        "extract_files", {"rows": 5}, {"key": "labels-where"}
    )  # fmt: skip


def test_models_that_label_u_together_say_what_each_says_alone(corpus, monkeypatch):
    """Also where the process is stopped after the first: its labels are kept."""
    for dataset in ("mood", "where"):
        fit(dataset)
    alone = {d: labels_of(d, label([d], corpus, f"0-{d}"), corpus).read_bytes() for d in ("mood", "where")}
    loaded = []

    def load(lock: Path, dataset: str):
        loaded.append(dataset)
        os.kill(os.getpid(), signal.SIGTERM)
        return load_finetuned(lock, dataset)

    with monkeypatch.context() as patch:
        patch.setattr(label_language_model_step, "load_finetuned", load)
        for stopped in (["mood"], ["mood", "where"]):
            with pytest.raises(Preempted, match=f"labels up to {stopped[-1]} are kept"):
                label(["mood", "where"], corpus)
            assert loaded == stopped
        other = label(["where"], corpus, "0b")
        batch = label(["mood", "where"], corpus)
        assert loaded == ["mood", "where"], "all were kept, and another batch takes them"
        assert resumed(other) and resumed(batch) and not resumed(batch.with_name("0-mood.lock.json"))
    assert labels_of("where", other, corpus).read_bytes() == alone["where"]
    assert {d: labels_of(d, batch, corpus).read_bytes() for d in alone} == alone


PAIRS = [("mood", "similar"), ("where", "similar"), ("mood", "where"), ("similar", "mood")]


def transfer_spec(pairs, seeds=(42,), recipe=QUICK) -> TransferSpec:
    runs = [
        TransferRun(key=f"{source}{target}{seed}", source=source, target=target, seed=seed)
        for source, target in pairs
        for seed in seeds
    ]
    targets = [Target(task=TASKS[name][0], recipe=recipe) for name in sorted({target for _, target in pairs})]
    return TransferSpec(model="m", targets=tuple(targets), runs=tuple(runs))


def run_batch(name: str, spec: TransferSpec) -> Path:
    output = Path(f"results/transfer/m/batches/{name}.jsonl.gz")
    files = {f"finetuned:{d}": Path(f"results/finetuned/m/{d}.lock.json") for d in TASKS}
    files |= {f"{split}:{d}": Path(f"results/data/{d}/{split}.jsonl.gz") for d in TASKS for split in ("train", "test")}
    files = {name: path for name, path in files.items() if path.is_file()}
    transfer_batch(
        spec, model=Path("results/models/m"), lock=Path("results/models/m.lock.json"), files=files, output=output
    )
    return output


def test_a_batch_gives_what_single_runs_give_and_goes_on_after_a_kill(project, monkeypatch):
    for dataset in TASKS:
        fit(dataset)
    whole = run_batch("whole", transfer_spec(PAIRS))
    lines = {line["key"]: line for line in read_jsonl(whole)}
    for pair in PAIRS[1:]:
        (single,) = read_jsonl(run_batch("single-" + "-".join(pair), transfer_spec([pair])))
        assert single == lines[single["key"]]
    # killed inside the second run: the first is kept, the second goes on from its last step
    with monkeypatch.context() as patch:
        seen = watched(patch, stop_at=20)
        with pytest.raises(Preempted, match="after step 8 of 12"):
            run_batch("again", transfer_spec(PAIRS))
        assert not Path("results/transfer/m/batches/again.jsonl.gz").exists()
        # first as part of another batch, which takes both
        other = run_batch("other", transfer_spec(sorted(PAIRS)[:2]))
        assert seen[20:] == [9, 10, 11, 12] and read_jsonl(other) == [lines[key] for key in sorted(lines)[:2]]
        again = run_batch("again", transfer_spec(PAIRS))
    assert seen[24:] == [9, 10, 11, 12, *range(1, 13), *range(1, 13)]
    assert again.read_bytes() == whole.read_bytes()
    assert resumed(again) and resumed(other) and not resumed(whole)
    assert set(finished_batches(whole.parent, transfer.SUFFIX)) == set(lines)


def test_a_run_does_not_go_on_from_that_of_another_source(project, monkeypatch):
    fit("mood")
    with monkeypatch.context() as patch:
        watched(patch, stop_at=5)
        with pytest.raises(Preempted):
            run_batch("b", transfer_spec([("mood", "where")]))
    Path("results/finetuned/m/mood.lock.json").write_text("{}")
    Path("results/finetuned/m/mood.lock.json.prov.json").unlink()
    changed, fresh = (run_batch(name, transfer_spec([("mood", "where")])) for name in ("b", "c"))
    assert read_jsonl(changed) == read_jsonl(fresh), "what was learned from the other source is not taken up"


def test_seeds_of_a_pair_are_taken_together_from_their_batches(project):
    fit("mood")
    fit("where")
    batches = [run_batch(f"b{seed}", transfer_spec([("mood", "where")], seeds=(seed,))) for seed in (42, 7)]
    locks = {"model": Path("results/models/m.lock.json"), "source": Path("results/finetuned/m/mood.lock.json")}
    data = {split: Path(f"results/data/where/{split}.jsonl.gz") for split in ("train", "test")}
    keys = {42: "moodwhere42", 7: "moodwhere7"}
    settings = ExtractTransfer(model="m", source="mood", target="where", keys=keys)
    output = Path("results/transfer/m/mood/where.json")
    extract_transfer(settings, batches=batches, files=locks | data, output=output)
    found = json.loads(output.read_text())
    runs = {line["seed"]: line["score"] for batch in batches for line in read_jsonl(batch)}
    assert found["seeds"] == [7, 42] and found["scores"] == [runs[7], runs[42]]
    assert found["mean"] == pytest.approx(np.mean([*runs.values()]))
    assert found["sd"] == pytest.approx(abs(runs[7] - runs[42]) / 2**0.5)
    assert (found["metric"], found["majority"]) == ("span_f1", pytest.approx(100 / 3))
    with pytest.raises(StaleFile, match=r"no run moodwhere7 \(mood -> where, seed 7\)"):
        extract_transfer(settings, batches=batches[:1], files=locks | data, output=output)
    data["test"].write_bytes(b"")
    with pytest.raises(StaleFile, match=r"was made from another version of .*test.jsonl.gz"):
        extract_transfer(settings, batches=batches, files=locks | data, output=output)


def test_the_key_of_a_run_covers_all_that_shapes_it():
    given = {"model": "m", "source": "mood", "target": Target(task=SIMILAR, recipe=QUICK), "data": "d", "seed": 1}
    given |= {"keep_head": False, "code_sha256": "c"}
    other = Target(task=SIMILAR, recipe=QUICK.model_copy(update={"steps": 13}))
    changes = {"model": "n", "source": "where", "target": other, "data": "e", "seed": 2, "keep_head": True}
    keys = {transfer_key(**given | {name: value}) for name, value in changes.items()}
    assert len(keys | {transfer_key(**given)}) == 7


def test_a_model_of_another_dataset_is_refused(corpus):
    folder = fit("mood")
    folder.rename("results/finetuned/m/where")
    Path("results/finetuned/m/mood.lock.json").rename("results/finetuned/m/where.lock.json")
    Path("results/finetuned/m/mood.lock.json").write_text("{}")
    Path("results/finetuned/m/similar.lock.json").write_text("{}")
    with pytest.raises(BlackBoxError, match="was fine-tuned on mood, not on where"):
        run_batch("b", transfer_spec([("where", "similar")]))
    with pytest.raises(BlackBoxError, match="was fine-tuned on mood, not on where; delete it"):
        label(["where"], corpus)
