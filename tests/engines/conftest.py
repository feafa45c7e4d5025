"""The model and the prompts of the engine tests: real weights, real texts."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.engine_answers import ROWS, Answers, ask

from fute.llm.engine import ScoreRequest

ROOT = Path(__file__).resolve().parents[2]
YES_NO = (("no", "No"), ("yes", "Yes"))
BAD_GOOD = (("bad", "Bad"), ("good", "Good"))
TRUE_MAYBE_FALSE = (("true", "True"), ("maybe", "Maybe"), ("false", "False"))
YES_MAYBE_NO = (("yes", "Yes"), ("maybe", "Maybe"), ("no", "No"))
# Of the paper's prompts: SA 3, 6; NLI 3, 5.
PROMPTS = {
    "mini-films": ("{text} Did the reviewer enjoy the movie?", YES_NO),
    "mini-series": ("{text} Did the reviewer find this movie good or bad?", BAD_GOOD),
    "mini-everyday": ("{premise} \n Question: {hypothesis} true, false, or maybe?", TRUE_MAYBE_FALSE),
    "mini-notices": ('{premise} \n\n Question: Does this imply that "{hypothesis}"? Yes, no, or maybe?', YES_MAYBE_NO),
}


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """Folder of the weights: FUTE_TEST_MODEL, or the demo's model."""
    named = os.environ.get("FUTE_TEST_MODEL")
    folder = Path(named) if named else ROOT / "results" / "models" / "smollm2-135m"
    if not (folder / "config.json").is_file():
        pytest.fail(f"no model in {folder}: run `make test`, or set FUTE_TEST_MODEL to a folder of weights")
    return folder


def rows_of(dataset: str, rows: int) -> list[dict[str, str]]:
    lines = (ROOT / "resources" / "builtin" / dataset / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:rows]]


def requests_on(rows: int) -> list[ScoreRequest]:
    by_set = []
    for dataset, (template, classes) in PROMPTS.items():
        words = ", ".join(word for words in classes for word in words)
        by_set.append(
            [
                ScoreRequest(
                    id=f"{dataset}-{i}",
                    user=f"{template.format(**row)}\nAnswer with one of: {words}.",
                    system=None,
                    classes=classes,
                )
                for i, row in enumerate(rows_of(dataset, rows))
            ]
        )
    return [request for group in zip(*by_set, strict=True) for request in group]


@pytest.fixture(scope="session")
def real_requests() -> Callable[[int], list[ScoreRequest]]:
    """From a number of rows to as many requests for each of the four sets, sentiment and inference in turn."""
    return requests_on


@pytest.fixture(scope="session")
def plain_texts() -> list[tuple[str, str]]:
    """Reviews as (id, text)."""
    return [(f"t{i}", row["text"]) for i, row in enumerate(rows_of("mini-films", 12))]


@pytest.fixture(scope="session")
def by_transformers(model_folder: Path, plain_texts: list[tuple[str, str]]) -> Answers:
    """The answers of the reference engine."""
    return ask("transformers", model_folder, requests_on(ROWS), plain_texts)
