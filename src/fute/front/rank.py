"""Order the candidates of a run of one's own (`fute rank`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fute import paths
from fute.artifacts import sidecar_path
from fute.config.run import Run, load_run
from fute.front.places import PROJECT, RUN_FILE, START, is_run, run_file
from fute.paper.candidates import Ranking, ladder_ranking, rankings
from fute.paper.ranking import print_rankings
from fute.paper.terminal import NoResults, read_json

SAID = ("template", "form", "verbalizers", "cot")
"""What of a prompt reaches an LLM."""


@dataclass(frozen=True)
class RankedRun:
    """Rankings, and where they are from.

    results: folder of results. texts: candidate -> template of the prompt. run: None for a dataset of a finished run.
    """

    results: Path
    rankings: list[Ranking]
    texts: Mapping[str, str]
    run: Run | None = None


def rank_run(name: str, results: Path | None, form: Literal["table", "json", "csv"], method: str | None = None) -> None:
    """Print the rankings of a run, or of one dataset of a finished run. Arguments and errors: those of `ranked`."""
    ranked_run = ranked(name, results, method)
    if not ranked_run.rankings:
        raise NoResults(f"{name}: the run has one candidate for it, and so no order; name a second one")
    print_rankings(ranked_run.rankings, form, ranked_run.texts)


def ranked(name: str, results: Path | None, method: str | None = None) -> RankedRun:
    """The rankings of a run, or of one dataset of a finished run, by all methods or by one.

    name: folder with a `run.yaml`, or else a dataset. results: folder of results; None: the project's for a folder, and
    `results` for a dataset. Raises NoResults if the results are not there, or are of another run;
    ValueError for a method that the run has not, and a damaged file.
    """
    if not is_run(name):
        where = results or Path("results")
        try:
            return RankedRun(where, rankings(where, [name], method), {})
        except NoResults as error:
            raise NoResults(
                f"{name}: is no folder with a {RUN_FILE}, so it should be a dataset of a finished run, whose results "
                f"are in {where} (--results names another folder); {error}"
            ) from None
    run = load_run(run_file(name), PROJECT / "config")
    where = results or PROJECT / "results"
    datasets = [dataset for names in run.config.llm.datasets.values() for dataset in names]
    try:
        ordered = rankings(where, datasets, method) if datasets else []
        if run.config.lm:
            ladder = ladder_ranking(where, START, run.config.lm.datasets.cr[0], method)
            ordered.append(replace(ladder, notes=(*ladder.notes, *_own_encoder(run, ladder))))
    except NoResults as error:
        # without what to do for a run by hand
        reason = re.split(r"; (?:make it|there are) ", str(error))[0]
        raise NoResults(f"{name} has no results yet ({reason}): `fute run {name}` makes them") from None
    for ranking in ordered:
        _check_candidates(name, run, ranking)
        _check_words(name, run, ranking, where)
    return RankedRun(where, ordered, {prompt.id: prompt.shown for prompt in run.prompts.values()}, run)


def _own_encoder(run: Run, ranking: Ranking) -> Iterator[str]:
    """Warn of a candidate that LabelCov encodes the texts with: it finds more of what that model says
    (docs/planted.md)."""
    encoder = run.config.labelcov.encoder
    if "labelcov" in ranking.methods and encoder in ranking.order and len(ranking.order) > 1:
        yield (
            f"LabelCov reads the texts with {encoder}, and scores of models made from it come out higher for that: "
            "compare it with the others by the test rows."
        )


def _check_candidates(name: str, run: Run, ranking: Ranking) -> None:
    """Raise NoResults if the results are of other prompts or models than the run names now, by their ids."""
    if ranking.kind == "prompt":
        wanted = {prompt.id for prompt in run.prompts_of(run.datasets[ranking.dataset].category)}
    else:
        wanted = set(run.config.lm.models) if run.config.lm else set()
    if wanted != set(ranking.order):
        changed = ", ".join(sorted(wanted ^ set(ranking.order)))
        raise NoResults(
            f"{name}: the results are of other {ranking.kind}s ({changed}): `fute run {name}` brings them up to date"
        )


def _check_words(name: str, run: Run, ranking: Ranking, results: Path) -> None:
    """Raise NoResults if a prompt had other words when its labels were made, which would stand beside their scores."""
    if ranking.kind != "prompt":
        return
    changed = []
    for prompt in map(run.prompts.__getitem__, ranking.order):
        asked = _asked(paths.below(results, paths.labels(ranking.model, prompt.id, prompt.category)), results)
        now = prompt.model_dump(mode="json")
        if asked and any(asked.get(key, now[key]) != now[key] for key in SAID):
            changed.append(prompt.id)
    if changed:
        raise NoResults(
            f"{name}: the results are of other words of {', '.join(changed)}: `fute run {name}` brings them up to date"
        )


def _asked(labels: Path, results: Path) -> Mapping[str, Any] | None:
    """The prompt that a file of labels was made with, by the record of its batch; None without records.

    The batch may have it under another id, since prompts with the same words share their labels.
    """
    record = _record(labels)
    made_from = [each["path"] for each in record["inputs"] if paths.BATCHES in each["path"]] if record else []
    batch = _record(paths.below(results, made_from[0])) if made_from else None
    if not record or not batch:
        return None
    ids = {cell["key"]: cell["prompt"] for cell in batch["params"]["labels"]}
    return batch["params"]["prompts"].get(ids.get(record["params"]["key"]))


def _record(path: Path) -> Mapping[str, Any] | None:
    """The record of an artifact; None for one that has none."""
    sidecar = sidecar_path(path)
    return read_json(sidecar)["record"] if sidecar.is_file() else None
