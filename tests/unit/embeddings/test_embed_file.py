"""`fute embed` and `fute compare` on a user's own pairs."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from support.small_lms import save_small
from support.stand_ins import pairs, save_stand_in
from transformers.utils import logging as transformers_logging

import fute
from fute.artifacts import sha256_file
from fute.config.run import Run, parse_run
from fute.config.sections import ConfigError
from fute.data.rows import BadRow
from fute.embeddings import EmbeddingError, cosine, load
from fute.embeddings.compare_files import compare_files
from fute.embeddings.embed_file import embed_file, read_pairs, surrogate_sha256

REGISTRIES = Path(__file__).parents[3] / "config"


def run(**changes) -> Run:
    recipe = {"epochs": 4, "batch_size": 4, "learning_rate": 5e-2, "length": 3}
    early = recipe | {"max_epochs": 6, "patience": 2}
    form = {"form": changes.get("form", "text2text")}
    values = {
        "name": "own",
        "title": "Own pairs",
        "unsup": {},
        "llm": {"models": ["smollm2-135m"], "datasets": {}},
        "surrogate": {"name": "smollm2-135m", "settings": {"family": "causal", "max_input_tokens": 12} | form},
        "controls": {"abc": False},
        "methods": ["tupate"],
        "labelcov": {"pairs": changes.get("pairs", 30)},
        "tupate": {"pairs": changes.get("pairs", 30), "mte": recipe, "dte": recipe if changes.get("plain") else early},
    }
    return parse_run(values, REGISTRIES)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_stand_in(tmp_path_factory.mktemp("models") / "own", "causal")


def write(path: Path, seed: int, n: int = 24) -> Path:
    path.write_text("".join(json.dumps({"x": pair.x[0], "y": pair.y}) + "\n" for pair in pairs(seed, n)))
    return path


def test_own_pairs_become_vectors_that_compare(tmp_path, monkeypatch, capsys, model):
    monkeypatch.chdir(tmp_path)
    transformers_logging.enable_progress_bar()
    for name, seed, kind in (("a", 1, "mte"), ("b", 1, "dte"), ("c", 2, "mte")):
        embed_file(run(plain=True), write(Path(f"{name}.jsonl"), seed), Path(f"{name}.safetensors"),
                   method="tupate", kind=kind, model=model)  # fmt: skip
        said = capsys.readouterr()
        assert f"{name}.safetensors: 48 numbers from" in said.out and "Loading weights" not in said.err
        assert not list(tmp_path.glob("*.partial")), "the training's state is not needed any more"
    assert load(Path("a.safetensors")).meta["pairs"] == 18, "a quarter is held out"
    gates = {name: load(Path(f"{name}.safetensors")).meta["gate"] for name in "ab"}
    assert gates["a"]["rows"] == gates["b"]["rows"] == 6
    assert gates["a"]["held_out_accuracy"] is None and 0 <= gates["b"]["held_out_accuracy"] <= 1
    assert load(Path("b.safetensors")).meta["pairs"] == 30, "a dataset gives its rows again"
    sidecar = json.loads(Path("a.safetensors.prov.json").read_text())
    assert sidecar["record"]["inputs"][0]["sha256"] == sha256_file(Path("a.jsonl"))
    compare_files(Path("a.safetensors"), [Path("c.safetensors"), Path("b.safetensors"), Path("a.safetensors")])
    shown = capsys.readouterr().out
    assert shown.index("a.safetensors", shown.index("Cosine")) < shown.index("c.safetensors")
    assert "1.0000" in shown and "Centred" in shown
    words = {True: "yes", False: "no"}
    assert re.findall(r"(yes|no)\b", shown.split("Learned")[1])[:3] == [
        words[load(Path(f"{name}.safetensors")).meta["gate"]["learned"]]
        for name in sorted("abc", key=lambda name: shown.index(f"{name}.safetensors", shown.index("Cosine")))
    ]


@pytest.mark.parametrize(("kind", "stops"), [("mte", False), ("dte", False), ("dte", True)])
def test_a_notebook_learns_the_vector_that_the_command_learns(tmp_path, monkeypatch, model, kind, stops):
    """Labelled rows are often sorted by class: held out are not the last ones, and with `dev` none of them."""
    monkeypatch.chdir(tmp_path)
    rows = sorted(pairs(1), key=lambda pair: pair.y)
    Path("own.jsonl").write_text("".join(json.dumps({"x": pair.x[0], "y": pair.y}) + "\n" for pair in rows))
    dev = write(Path("dev.jsonl"), 5, 8) if stops else None
    own = run(plain=not stops, pairs=None)
    embed_file(own, Path("own.jsonl"), Path("v.safetensors"), method="tupate", kind=kind, model=model, dev=dev)
    by_command, recipe = load(Path("v.safetensors")), getattr(own.config.tupate, kind).model_dump()
    given = [(pair.x[0], pair.y) for pair in rows]
    settings = {"max_input_tokens": 12}
    stopping = [(pair.x[0], pair.y) for pair in pairs(5, 8)] if stops else None
    found = fute.embed(given, model, kind=kind, recipe=recipe, settings=settings, dev=stopping)
    assert found.meta == by_command.meta and found.basis == by_command.basis
    assert np.array_equal(found.vector, by_command.vector)


def test_vectors_of_another_start_are_refused(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    write(Path("a.jsonl"), 1)
    for seed in (1, 2):
        other = run(plain=True)
        recipe = other.config.tupate.mte.model_copy(update={"init_seed": seed})
        section = other.config.tupate.model_copy(update={"mte": recipe})
        other.config = other.config.model_copy(update={"tupate": section})
        embed_file(other, Path("a.jsonl"), Path(f"{seed}.safetensors"), method="tupate", kind="mte", model=model)
    with pytest.raises(EmbeddingError, match="init_sha256"):
        compare_files(Path("1.safetensors"), [Path("2.safetensors")])


def test_what_is_missing_is_said(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    own = write(Path("a.jsonl"), 1)
    with pytest.raises(ConfigError, match=r"give held-out pairs by --dev"):
        embed_file(run(), own, Path("a.safetensors"), method="tupate", kind="dte", model=model)
    Path("bad.jsonl").write_text('{"x": "a film"}\n')
    for bad in (own, Path("bad.jsonl")):  # what is wrong with the pairs is said before a model is fetched for them
        with pytest.raises((ConfigError, BadRow), match=r"give held-out pairs by --dev|must be a text; add it"):
            embed_file(run(), bad, Path("a.safetensors"), method="tupate", kind="dte")
    with pytest.raises(ConfigError, match=r"results/models/smollm2-135m holds no model: give"):
        embed_file(run(), own, Path("a.safetensors"), method="tupate", kind="mte")
    embed_file(run(), own, Path("a.safetensors"), method="tupate", kind="dte", model=model,
               dev=write(Path("dev.jsonl"), 3, 6))  # fmt: skip
    assert load(Path("a.safetensors")).meta["best_epochs"][0] >= 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"x": "a film"}', r"row 1, field 'y': must be a text; add it"),
        ('{"x": "a film", "y": 1}', r"row 1, field 'y': must be a text; write it in quotes, numbers too"),
        ('{"x": "a film", "y": "  "}', r"row 1, field 'y': is empty; give empty answers a name"),
        ('{"x": ["a", "b", "c"], "y": "good"}', r"row 1, field 'x': must be a text or a list of two"),
        ('{"x": 3, "y": "good"}', r"field 'x': must be a text"),
        ('{"x": " ", "y": "good"}', r"field 'x': is empty"),
        ("a film, good", "row 1: is not JSON"),
        ("", "holds no pairs"),
    ],
)
def test_bad_lines_name_file_row_and_field(tmp_path, line, message):
    (tmp_path / "own.jsonl").write_text(line + "\n" if line else "")
    with pytest.raises(BadRow, match=message) as error:
        read_pairs(tmp_path / "own.jsonl")
    assert "own.jsonl" in str(error.value)


def test_pairs_of_texts_are_read(tmp_path):
    (tmp_path / "own.jsonl").write_text('{"x": ["a film", "it was dull"], "y": "neutral"}\n')
    assert read_pairs(tmp_path / "own.jsonl")[0].x == ("a film", "it was dull")


def test_a_models_lock_is_what_its_vectors_carry(tmp_path, model):
    plain = surrogate_sha256(model)
    lock = model.with_name("own.lock.json")
    lock.write_text("{}")
    assert surrogate_sha256(model) == sha256_file(lock) != plain
    lock.unlink()
    assert surrogate_sha256(model) == plain


def test_own_pairs_name_the_classes_of_a_head(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    how = {"method": "tupate", "kind": "mte", "model": model}
    embed_file(run(form="heads"), write(Path("a.jsonl"), 1), Path("a.safetensors"), **how)
    found = load(Path("a.safetensors"))
    assert found.basis["form"] == "heads" and found.meta["head"] == {"kind": "class", "outputs": 2}
    Path("one.jsonl").write_text('{"x": "the film", "y": "positive"}\n' * 40)
    embed_file(run(form="heads"), Path("one.jsonl"), Path("b.safetensors"), **how)
    assert load(Path("b.safetensors")).meta["head"]["outputs"] == 2, (
        "a model that never says negative has that class too"
    )
    Path("own.jsonl").write_text('{"x": "the film", "y": "drama"}\n{"x": "it was", "y": "comedy"}\n' * 20)
    with pytest.raises(ConfigError, match=r"own\.jsonl: y takes \['comedy', 'drama'\].*--classes first,second"):
        embed_file(run(form="heads"), Path("own.jsonl"), Path("c.safetensors"), **how)
    with pytest.raises(
        ConfigError, match=r"own\.jsonl: y takes 'comedy', which is not in --classes drama,news; add it"
    ):
        embed_file(run(form="heads"), Path("own.jsonl"), Path("c.safetensors"), **how, classes=("drama", "news"))
    embed_file(run(form="heads"), Path("own.jsonl"), Path("c.safetensors"), **how, classes=("drama", "comedy", "news"))
    assert load(Path("c.safetensors")).meta["head"]["outputs"] == 3


def test_covariances_of_own_pairs_need_no_surrogate(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    encoder = save_small(tmp_path / "encoder", "bert")
    rows = [json.loads(line) for line in write(Path("a.jsonl"), 1).read_text().splitlines()]
    names = sorted({row["y"] for row in rows})
    assert len(names) == 2
    opposite = dict(zip(names, reversed(names), strict=True))
    said = {"b": opposite.get, "one": lambda y: names[0]}
    for name, say in said.items():
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row | {"y": say(row["y"])}) + "\n" for row in rows))
    for name in ("a", "b"):
        embed_file(run(), Path(f"{name}.jsonl"), Path(name), method="labelcov", kind="mte", model=encoder)
        assert f"{name}: 32 numbers from 24 pairs" in capsys.readouterr().out
    assert cosine(load(Path("a")), load(Path("b"))) == pytest.approx(-1)
    assert json.loads(Path("a.prov.json").read_text())["record"]["counts"] == {"pairs": 24}
    embed_file(run(pairs=8), Path("a.jsonl"), Path("few"), method="labelcov", kind="dte", model=encoder)
    random.Random(run().config.seed).shuffle(rows)
    Path("few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:8]))
    embed_file(run(), Path("few.jsonl"), Path("same"), method="labelcov", kind="mte", model=encoder)
    assert (load(Path("few")).vector == load(Path("same")).vector).all(), "a dataset's pairs are drawn as in a run"
    with pytest.raises(EmbeddingError, match=r"there is no vector: the output is the same, .*; leave this file out"):
        embed_file(run(), Path("one.jsonl"), Path("one"), method="labelcov", kind="mte", model=encoder)
    own = {"method": "labelcov", "kind": "mte", "model": encoder}
    with pytest.raises(ConfigError, match=f"a.jsonl: y takes {names[1]!r}, which is not in --classes {names[0]}; add"):
        embed_file(run(), Path("a.jsonl"), Path("x"), **own, classes=names[:1])
    with pytest.raises(ConfigError, match=f"--classes: {names[0]!r} is named twice"):
        embed_file(run(), Path("a.jsonl"), Path("x"), **own, classes=[*names, names[0]])
    with pytest.raises(ConfigError, match=r"--output a\.jsonl: is a file of pairs, which would be lost; name another"):
        embed_file(run(), Path("a.jsonl"), Path("./a.jsonl"), **own)
    with pytest.raises(ConfigError, match="leave out --dev"):
        embed_file(run(), Path("a.jsonl"), Path("x"), method="labelcov", kind="dte", model=encoder, dev=Path("b.jsonl"))
    with pytest.raises(ConfigError, match=r"results/models/minilm-l6 holds no model"):
        embed_file(run(), Path("a.jsonl"), Path("x"), method="labelcov", kind="mte")
