"""The workflow with a T5-shaped surrogate: shared encoder states, every method, and two processes a job."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from support.checkouts import MODEL, Checkout, copied, save_model, say

from fute.embeddings import cosine, load

pytestmark = pytest.mark.workflow

SURROGATE = "tiny-t5"
TABLE = "results/paper/tables/table3.md"
METHODS = ["taskemb", "tupate", "tupate-lora", "tupate-bias", "textemb", "labelcov"]
TRAINED = {"epochs": 6, "batch_size": 4, "min_steps": 10}


def both(recipe: dict) -> dict:
    return {"pairs": 12, "mte": recipe, "dte": {**recipe, "max_epochs": None, "patience": None}}


TUNED = {"epochs": 6, "batch_size": 4, "learning_rate": 0.01}
VALUES = {
    "surrogate": {"name": SURROGATE, "settings": {"family": "encoder-decoder", "max_input_tokens": 24}},
    "methods": METHODS,
    "taskemb": both({"epochs": 6, "batch_size": 4, "learning_rate": 1e-3, "store": "float16"}),
    "tupate": both(TUNED | {"learning_rate": 0.05, "length": 3, "order_seeds": [42, 43], "dropout": 0}),
    "tupate_lora": both(TUNED),
    "tupate_bias": both(TUNED),
    "textemb": {"pairs": 12},
    "labelcov": {"encoder": SURROGATE, "pairs": 12},
    "threads": 1,
}


def with_t5(finished: Checkout, folder: Path, t5: Path, **values) -> Checkout:
    """A copy of a finished run, its labels included, with another surrogate."""
    made = copied(finished, folder)
    made.config = "t5.yaml"
    registry = made / "config/models.yaml"
    registry.write_text(registry.read_text() + f"\n{SURROGATE}:\n  title: a stand-in\n  folder: {t5}\n")
    config = yaml.safe_load((made / "tests/workflow/tiny.yaml").read_text())
    (made / "t5.yaml").write_text(yaml.safe_dump(config | VALUES | values))
    return made


@pytest.fixture(scope="module")
def t5(tmp_path_factory) -> Path:
    return save_model("words", tmp_path_factory.mktemp("t5") / "t5")


@pytest.fixture(scope="module")
def run(finished, t5, tmp_path_factory) -> Checkout:
    made = with_t5(finished, tmp_path_factory.mktemp("t5-run") / "project", t5)
    say("six methods on a T5-shaped surrogate (about a minute)")
    made.run(TABLE)
    return made


def test_every_method_has_its_row_and_nothing_is_left_to_do(run):
    assert run.planned(TABLE) == {}
    table = pd.read_csv(run / "results/paper/tables/table3.csv")
    text = (run / TABLE).read_text()
    for name in (
        "FUTE + TaskEmb",
        "FUTE + TuPaTE",
        "FUTE + TuPaTE by LoRA",
        "FUTE + TuPaTE by biases",
        "FUTE + TextEmb",
        "LabelCov",
    ):
        assert f"| {name} |" in text, table.to_string()
    for method in METHODS:
        vectors = [load(path) for path in sorted((run / f"results/embeddings/{SURROGATE}/{method}").glob("*te/**/*s"))]
        assert len(vectors) == 6 and len({vector.vector.shape for vector in vectors}) == 1, method
        assert all(-1 <= cosine(vectors[0], other) <= 1 for other in vectors)
    half = run / f"results/embeddings/{SURROGATE}/taskemb/mte/{MODEL}/sa-1.safetensors"
    assert half.stat().st_size < 2.5 * load(half).vector.size + 20_000


def test_the_encoder_reads_u_once_for_all_methods_and_prompts(run):
    file = f"results/embeddings/{SURROGATE}/states/sa.safetensors"
    record = json.loads((run / f"{file}.prov.json").read_text())["record"]
    assert record["counts"]["texts"] == 12 and record["step"] == "encoder_states"
    path = run / "config/prompts/sa.yaml"
    path.write_text(path.read_text() + '\n  - id: sa-15\n    number: 15\n    template: "{text}\\nA good one?"\n'
                    '    verbalizers: {negative: ["no"], positive: ["yes"]}\n')  # fmt: skip
    run.edit("t5.yaml", "    - 12\n", "    - 12\n    - 15\n")
    planned = run.planned(TABLE)
    assert planned["mte"] == planned["embed_batch"] == len(METHODS)
    assert "encoder_states" not in planned and "dte" not in planned
    run.edit("t5.yaml", "    - 15\n", "")


def test_two_processes_give_the_vectors_of_one(run, finished, t5, tmp_path):
    wanted = [f"results/embeddings/{SURROGATE}/{method}/mte/{MODEL}/sa-1.safetensors" for method in METHODS[:2]]
    two = with_t5(finished, tmp_path / "project", t5, processes=2, embeddings_per_process=1)
    two.run(*wanted)
    for name in wanted:
        found, expected = load(two / name), load(run / name)
        assert found.meta["processes"] == 2 and expected.meta["processes"] == 1
        assert cosine(found.vector, expected.vector) > 0.99999, name
