"""Order the candidates of a finished run, and say what the order rests on (`fute rank`).

Candidates are the prompts of an LLM, the datasets that a model was fine-tuned on, or the models that answer with the
classes of the target. A method takes part if it learned its task (docs/methods.md 6.1).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd

from fute import paths
from fute.artifacts import read_jsonl
from fute.display_names import LEVEL, METHOD_NAMES
from fute.evaluation.transfer_matrix_step import DIRECT
from fute.paper.learning import DID_NOT_LEARN
from fute.paper.similarity_warnings import similarity_warnings
from fute.paper.terminal import NoResults, read_evaluation, read_json, read_result
from fute.paper.verdicts import MOST_NAMED
from fute.wording import listed

PROMPTS, MODELS, LADDERS = "similarities.csv", "lm_similarities.csv", "planted_similarities.csv"
Kind = Literal["prompt", "source", "model"]
APART = 1.96 * math.sqrt(2)
"""Two scores differ by more than chance if their distance is over this many standard deviations of one score."""
NO_VECTOR = "no vector"
NOTHING = pd.Series(dtype=float)
"""No value of any candidate is known."""
NEEDED = ("method", "model", "cosine", "mte_learned", "dte_learned", "unknown_tokens")
BESIDE = {"candidates_cosine": "Centred", "task2vec_cosine": "task2vec"}
"""Further similarities -> their headers: around the candidates' mean; of TaskEmb, each entry counting alike."""


@dataclass(frozen=True)
class Standing:
    """The ranking of the candidates by one method.

    scores: candidate -> cosine with the target. ranks: candidate -> rank from 1, equal scores share the lower number;
    NaN for a candidate whose vector did not learn or does not exist. unranked: such a candidate -> which of both.
    noise: standard deviation that a score has by chance; NaN if the run has no control that says so. noise_of: what
    that chance is. ceiling: largest score with permuted labels, learned in one order of texts, NaN if there are none.
    verdict: of the test against the noise of the order of texts, empty without one. beside: candidates by headers of
    `BESIDE`, those of the method. largest_entry: candidate -> share of its cosine that one entry carries, NaN but for
    TaskEmb.
    """

    scores: pd.Series
    ranks: pd.Series
    unranked: Mapping[str, str]
    noise: float
    noise_of: str
    ceiling: float
    verdict: str
    beside: pd.DataFrame
    largest_entry: pd.Series

    @property
    def bound(self) -> float:
        """Largest distance of two scores that may be chance."""
        return APART * self.noise


@dataclass(frozen=True)
class Ranking:
    """The candidates for one dataset in their order.

    model: the LLM of the prompts, or the model of the sources; empty for a ranking of models. order: candidates, best
    first: by the first method, those that it does not rank last. methods: method -> its standing, in the run's order.
    left_out: method -> why it takes no part. quality: candidate -> accuracy or score on labelled test rows, in percent,
    NaN where none is known. rows: test rows behind these numbers where they are accuracies, 0 if not known. majority:
    share in percent of the most frequent class among these rows, NaN where not known. direct: of sources, the score
    without transfer, NaN where not known. tokens: candidate -> tokens that the LLM reads and writes
    per text, NaN where not known. warnings: of vectors that do not exist, or were learned from texts that could not be
    read. notes: what else bears on the order, or on the scores on test rows.
    """

    dataset: str
    model: str
    kind: Kind
    order: tuple[str, ...]
    methods: Mapping[str, Standing]
    left_out: Mapping[str, str]
    quality: pd.Series
    rows: int
    majority: float
    tokens: pd.Series
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    direct: float = math.nan

    @property
    def first(self) -> Standing | None:
        """The standing that decides the order."""
        return next(iter(self.methods.values()), None)

    def gap(self, place: int) -> float:
        """Distance of the score at a place (from 0) to the next ranked one by the first method; NaN at the end."""
        if self.first is None or place + 1 >= len(self.order):
            return math.nan
        one, two = self.order[place], self.order[place + 1]
        if self.first.ranks[[one, two]].isna().any():
            return math.nan
        return float(self.first.scores[one] - self.first.scores[two])

    def told_apart(self, place: int) -> bool | None:
        """True if the gap is more than noise; None where the gap or the noise is not known."""
        gap = self.gap(place)
        if math.isnan(gap) or self.first is None or math.isnan(self.first.noise):
            return None
        return gap > self.first.bound

    @property
    def tied_with_best(self) -> tuple[str, ...]:
        """Ranked candidates that cannot be told from the best, itself among them.

        Where the noise is not known, those with the same score.
        """
        if self.first is None or not self.order:
            return ()
        ranked = [name for name in self.order if not math.isnan(self.first.ranks[name])]
        bound = 0.0 if math.isnan(self.first.noise) else self.first.bound
        return tuple(name for name in ranked if self.first.scores[ranked[0]] - self.first.scores[name] <= bound)

    @property
    def agreement(self) -> dict[tuple[str, str], float]:
        """Kendall's tau-b of each two methods, over the candidates that both rank; NaN for fewer than two of them."""
        pairs = combinations(self.methods, 2)
        return {pair: kendall(*(self.methods[name].ranks for name in pair)) for pair in pairs}

    @property
    def check(self) -> float:
        """Kendall's tau-b of the order with the quality on test rows; NaN where that is not known."""
        return math.nan if self.first is None else kendall(self.first.ranks, -self.quality)


def kendall(one: pd.Series, other: pd.Series) -> float:
    """Kendall's tau-b of two rankings, over the candidates that both rank; NaN for fewer than two, or all equal."""
    both = one.index[one.notna() & other.reindex(one.index).notna()]
    a, b = one[both].to_numpy(dtype=float), other[both].to_numpy(dtype=float)
    if len(both) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    from scipy.stats import kendalltau

    return float(kendalltau(a, b).statistic)


def rankings(results: Path, datasets: Collection[str], method: str | None = None) -> list[Ranking]:
    """All rankings of a finished run for these datasets, by all methods or by one.

    Raises NoResults, which names what there is; ValueError for a method that the run has not, and a damaged file.
    """
    folder = results / "evaluation"
    ranked: list[Ranking] = []
    targets: set[str] = set()
    for name, column, make in ((PROMPTS, "dataset", _of_prompts), (MODELS, "target", _of_models)):
        if not (folder / name).is_file():
            continue
        similar = read_evaluation(folder / name, column, *NEEDED)
        targets |= set(similar[column])
        for dataset in datasets:
            if len(own := similar[similar[column] == dataset]):
                ranked += make(_by(own, method, folder / name), dataset, results)
    if not targets:
        read_evaluation(folder / PROMPTS)  # raises NoResults: the file is missing, and what to run
    if missing := [name for name in datasets if name not in targets]:
        raise NoResults(
            f"{folder}: no similarities for dataset {missing[0]!r}; there are {', '.join(sorted(targets))}: run the "
            "workflow for it, or name one of these"
        )
    return ranked


def _by(similar: pd.DataFrame, method: str | None, path: Path) -> pd.DataFrame:
    """The rows of one method, or all. Raises ValueError, which names the methods that there are."""
    if method is None:
        return similar
    if method not in set(similar["method"]):
        known = ", ".join(dict.fromkeys(similar["method"]))
        raise ValueError(f"{path}: no similarities by {method!r}; there are those by {known}: name one of these")
    return similar[similar["method"] == method]


def ladder_ranking(results: Path, test: str, dataset: str, method: str | None = None) -> Ranking:
    """Ranking of the models of one ladder (`lm.planted.ladders`), whose quality is their score. Raises NoResults."""
    path = results / "evaluation" / LADDERS
    similar = read_evaluation(path, "test", "target", "quality", *NEEDED)
    rows = similar[(similar["test"] == test) & (similar["target"] == dataset)]
    if rows.empty:
        raise NoResults(f"{path}: has no row of the test {test!r} for {dataset!r}; run the workflow for it")
    quality = rows.drop_duplicates("model").set_index("model")["quality"]
    count, majority = _accuracies(_own_scores(results, quality.index, dataset).values())
    return _ranking(_by(rows, method, path), "model", dataset, quality=quality, count=count, majority=majority)


def _of_prompts(similar: pd.DataFrame, dataset: str, results: Path) -> Iterator[Ranking]:
    folder = results / "evaluation"
    for model, rows in similar.groupby("model", sort=False):
        controls = read_evaluation(folder / "controls.csv", "method", "model", "dataset", "sd_order_noise")
        controls = controls[(controls["dataset"] == dataset) & (controls["model"] == model)]
        quality, count, notes = NOTHING, 0, ()
        if (folder / "performance.csv").is_file():
            scored = read_evaluation(folder / "performance.csv", "model", "prompt", "dataset", "n")
            scored = scored[(scored["model"] == model) & (scored["dataset"] == dataset)]
            if "accuracy" in scored and len(scored):
                quality, count = scored.set_index("prompt")["accuracy"], int(scored["n"].iloc[0])
            notes = tuple(_counts(scored))
        category = rows["category"].iloc[0] if "category" in rows else ""
        tokens = {prompt: _tokens(results, str(model), prompt, category) for prompt in dict.fromkeys(rows["prompt"])}
        yield _ranking(
            rows, "prompt", dataset, str(model), controls=controls, quality=quality, count=count,
            majority=_majority(results, dataset), tokens=pd.Series(tokens), notes=notes,
        )  # fmt: skip


def _counts(scored: pd.DataFrame) -> Iterator[str]:
    """How many test rows have no label or a cut text, by prompt, where there are any."""
    for column, words in (("unlabelled", "Rows without a label"), ("cut", "Rows whose text was cut")):
        if column in scored and scored[column].any():
            some = scored[scored[column] > 0]
            counts = [f"{row['prompt']} {row[column]:g} of {row['n']}" for _, row in some.iterrows()]
            yield f"{words}: {', '.join(counts)}."


def _of_models(similar: pd.DataFrame, dataset: str, results: Path) -> Iterator[Ranking]:
    own = similar[similar["source"] == dataset]
    scored = _own_scores(results, own["model"], dataset)
    if (planted := results / "evaluation" / LADDERS).is_file():  # boxes made for a test are no candidates
        boxes = read_evaluation(planted, "model", "target")
        made = set(boxes[boxes["target"] == dataset]["model"]) - set(scored)
        own = own[~own["model"].isin(made)]
    if own["model"].nunique() > 1:
        count, majority = _accuracies(scored.values())
        quality = pd.Series({model: float(file["mean"]) for model, file in scored.items()}, dtype=float)
        yield _ranking(own, "model", dataset, quality=quality, count=count, majority=majority)
    for model, rows in similar[similar["source"] != dataset].groupby("model", sort=False):
        if rows["source"].nunique() < 2:  # a plug-in is one black box
            continue
        quality, notes, direct = NOTHING, (), math.nan
        if (path := results / "evaluation" / "transfer.csv").is_file():
            matrix = read_evaluation(path, "model", "source", "target", "score")
            runs = matrix[(matrix["model"] == model) & (matrix["target"] == dataset)]
            scores = runs.groupby("source")["score"].mean()
            quality = scores.drop(DIRECT, errors="ignore")
            if DIRECT in scores:
                direct = float(scores[DIRECT])
                notes = (f"Scores are after transfer; without transfer the score is {direct:.1f} %.",)
        yield _ranking(rows, "source", dataset, str(model), quality=quality, notes=notes, direct=direct)


def _own_scores(results: Path, models: Iterable[str], dataset: str) -> dict[str, Mapping[str, Any]]:
    """Model -> its score file, of those that were fine-tuned on a dataset and scored on its test rows."""
    files = {model: paths.below(results, paths.finetuned(model, dataset, "score")) for model in dict.fromkeys(models)}
    return {model: read_json(path) for model, path in files.items() if path.is_file()}


def _accuracies(scored: Collection[Mapping[str, Any]]) -> tuple[int, float]:
    """Rows behind the scores of models, and the most frequent class's share of them in percent.

    0 and NaN without scores, and where they are no accuracies, whose chance a number of rows does not give.
    """
    if not scored or any(file.get("metric") != "accuracy" for file in scored):
        return 0, math.nan
    file = next(iter(scored))
    return int(file["rows"]), float(file["majority"])


def _majority(results: Path, dataset: str) -> float:
    """Share in percent of the most frequent class among a dataset's test rows; NaN without a count."""
    path = paths.below(results, paths.row_counts(dataset))
    counts = read_json(path)["test"]["classes"].values() if path.is_file() else ()
    return 100 * max(counts) / sum(counts) if sum(counts) else math.nan


def _tokens(results: Path, model: str, prompt: str, corpus: str) -> float:
    """Mean tokens that a prompt costs per text of U, read and written; NaN without a label file or counts."""
    path = paths.below(results, paths.labels(model, prompt, corpus))
    if not path.is_file():
        return math.nan
    counts = [(row.get("prompt_tokens"), row.get("reasoning_tokens") or 0) for row in read_result(path, read_jsonl)]
    if not counts or any(read is None for read, _ in counts):
        return math.nan
    return sum(read + written for read, written in counts) / len(counts)


def _ranking(
    rows: pd.DataFrame, kind: Kind, dataset: str, model: str = "", *, controls: pd.DataFrame | None = None,
    quality: pd.Series, count: int = 0, majority: float = math.nan, tokens: pd.Series = NOTHING,
    notes: tuple[str, ...] = (), direct: float = math.nan,
) -> Ranking:  # fmt: skip
    """Ranking from rows of similarities of one dataset.

    kind: also the column of the candidates. controls: rows, one per method; None: there are none. quality, majority,
    tokens, notes, direct, and count (its `rows`): those of the ranking.
    """
    warnings = similarity_warnings(rows, "dataset" if kind == "prompt" else "target")
    names = list(dict.fromkeys(rows[kind]))
    methods: dict[str, Standing] = {}
    left_out: dict[str, str] = {}
    for method, own in rows.groupby("method", sort=False):
        checks = pd.DataFrame() if controls is None else controls[controls["method"] == method]
        own = own.set_index(kind).reindex(names)
        if reason := _left_out(own, dataset):
            left_out[str(method)] = reason
        else:
            methods[str(method)] = _standing(own, checks)
    order = names
    if methods:
        ranks = next(iter(methods.values())).ranks
        order = sorted(names, key=lambda name: (math.isnan(ranks[name]), ranks[name], names.index(name)))
    return Ranking(
        dataset, model, kind, order=tuple(order), methods=methods, left_out=left_out, quality=quality.reindex(names),
        rows=count, majority=majority, tokens=tokens.reindex(names), warnings=tuple(warnings), notes=notes,
        direct=direct,
    )  # fmt: skip


def _unranked(own: pd.DataFrame) -> dict[str, str]:
    """The candidates that a method says nothing of, and why: their vector did not learn, or there is none."""
    missing = own["cosine"].isna() | (own["no_vector"] != "" if "no_vector" in own else False)
    reasons = {name: DID_NOT_LEARN for name in own.index[own["mte_learned"] == "no"]}
    return reasons | {name: NO_VECTOR for name in own.index[missing]}


def _left_out(own: pd.DataFrame, dataset: str) -> str:
    """The reason why a method takes no part in a ranking; empty if it does."""
    if (own["dte_learned"] == "no").any():
        return f"did not learn {dataset}"
    unranked = _unranked(own)
    ranked = len(own) - len(unranked)
    if len(own) == 1 or ranked > 1:
        return ""
    verb = "learned" if DID_NOT_LEARN in unranked.values() else "has vectors to compare for"
    return f"{verb} {ranked} of {len(own)} candidates"


def _standing(own: pd.DataFrame, checks: pd.DataFrame) -> Standing:
    def control(name: str) -> float:
        return float(checks[name].iloc[0]) if len(checks) and name in checks else math.nan

    noise, of = control("sd_order_noise"), "the order of the training texts"
    if math.isnan(noise):
        noise, of = control("null_sd_prompts"), "permuted labels"
    unranked = _unranked(own)
    ranks = own["cosine"].drop(list(unranked)).rank(ascending=False, method="min").reindex(own.index)
    beside = {header: own[column] for column, header in BESIDE.items() if column in own and own[column].notna().all()}
    return Standing(
        own["cosine"], ranks, unranked, noise, "" if math.isnan(noise) else of, control("null_max"),
        verdict=str(checks["verdict"].iloc[0]) if len(checks) and "verdict" in checks else "",
        beside=pd.DataFrame(beside, index=own.index),
        largest_entry=own.get("largest_entry", pd.Series(math.nan, index=own.index)),
    )  # fmt: skip


def advice(ranking: Ranking) -> str:
    """One sentence that says what to do."""
    what, best = ranking.kind, ranking.tied_with_best
    if ranking.first is None:
        reasons = ", ".join(f"{METHOD_NAMES[name]} {reason}" for name, reason in ranking.left_out.items())
        other = "" if "labelcov" in ranking.left_out else ", or the method labelcov"
        return (
            f"no {what} can be recommended: {reasons}; take more labelled rows or unlabelled texts{other} "
            "(docs/methods.md 6.1)"
        )
    if len(ranking.order) == 1:
        return f"there is one {what}, {ranking.order[0]}: name a second one to choose from"
    standing, use = ranking.first, f"use {what} {best[0]}"
    method = METHOD_NAMES[next(iter(ranking.methods))]
    if standing.scores[list(best)].nunique() == 1 and len(best) == int(standing.ranks.notna().sum()):
        return f"nothing to choose by: {named(what, best)} score alike on these data"
    parts = [use]
    if not math.isnan(standing.ceiling) and standing.scores[best[0]] <= standing.ceiling:
        parts[0] = (
            f"{use} only for want of a better one: by {method}, its answers to U agree with the dataset no more than "
            "permuted ones do"
        )
    if len(best) > 1:
        parts.append(f"{method} cannot tell {named(what, best)} apart on these data")
    elif math.isnan(standing.noise):
        lacks = "the run has neither two order_seeds nor null_draws"
        why = lacks if what == "prompt" else "only prompts have controls"
        parts.append(f"whether the next differs is not known, as {why}")
    else:
        parts.append(f"it is ahead of every other {what} by more than {standing.noise_of} can explain")
    if ranking.quality.max() <= ranking.majority:
        parts.append(f"no {what} does better on the test rows than always saying the most frequent class")
    elif ranking.quality.max() <= ranking.direct:
        parts.append("no source gives a better score on the test rows than training without transfer")
    elif better := _better_on_rows(ranking, best[0]):
        parts.append(
            f"but {what} {better} is right on {ranking.quality[better]:.1f} % of the {ranking.rows} test rows and "
            f"{best[0]} on {ranking.quality[best[0]]:.1f} %, more than chance can explain: follow the test rows"
        )
    return "; ".join(parts)


def _better_on_rows(ranking: Ranking, chosen: str) -> str | None:
    """The candidate with the best accuracy, if its lead over the chosen one on the test rows is more than chance.

    By Agresti and Caffo's interval of the difference of two shares at `LEVEL`, over all candidates that may lead. That
    both are asked of the same rows is left out, so that a lead is rather missed than invented.
    """
    known = ranking.quality.dropna()
    if not ranking.rows or chosen not in known or len(known) < 2:
        return None
    n, best = ranking.rows + 2, known.idxmax()
    high, low = ((known[name] / 100 * ranking.rows + 1) / n for name in (best, chosen))
    z = NormalDist().inv_cdf(1 - LEVEL / (2 * (len(known) - 1)))
    return str(best) if high - low > z * math.sqrt((high * (1 - high) + low * (1 - low)) / n) else None


def named(kind: Kind, names: Sequence[str]) -> str:
    """Candidates in a sentence: `prompt 3`, `prompts 3 and 7`; at most `MOST_NAMED` names."""
    return f"{kind}{'s' if len(names) > 1 else ''} {listed(names, most=MOST_NAMED)}"


def as_rows(ranking: Ranking) -> list[dict[str, Any]]:
    """One row per candidate, in order, for CSV and JSON; None where a value is not known."""
    rows = []
    for place, name in enumerate(ranking.order):
        row: dict[str, Any] = {
            "dataset": ranking.dataset, "model": ranking.model, "kind": ranking.kind,
            "place": place + 1, "candidate": name,
        }  # fmt: skip
        for method, standing in ranking.methods.items():
            row |= {f"{method}_score": standing.scores[name], f"{method}_rank": standing.ranks[name]}
        row |= {"gap": ranking.gap(place), "told_apart": ranking.told_apart(place)}
        row |= {"accuracy": ranking.quality[name], "tokens_per_text": ranking.tokens[name]}
        rows.append({key: _plain(value) for key, value in row.items()})
    return rows


def as_json(ranking: Ranking) -> dict[str, Any]:
    """The whole ranking as a JSON value."""
    return {
        "dataset": ranking.dataset,
        "model": ranking.model,
        "kind": ranking.kind,
        "candidates": [
            {key: value for key, value in row.items() if key not in ("dataset", "model", "kind")}
            for row in as_rows(ranking)
        ],
        "methods": {
            name: {"noise": _plain(s.noise), "noise_of": s.noise_of, "permuted_labels_at_most": _plain(s.ceiling)}
            for name, s in ranking.methods.items()
        },
        "left_out": dict(ranking.left_out),
        "agreement": [{"methods": list(pair), "kendall": _plain(tau)} for pair, tau in ranking.agreement.items()],
        "cannot_be_told_from_best": list(ranking.tied_with_best),
        "warnings": list(ranking.warnings),
        "notes": list(ranking.notes),
        "test_rows": ranking.rows,
        "most_frequent_class": _plain(ranking.majority),
        "kendall_with_accuracy": _plain(ranking.check),
        "advice": advice(ranking),
    }


def _plain(value: Any) -> Any:
    """A plain Python value; None for NaN."""
    if value is None or isinstance(value, str | int):
        return value
    number = float(value)
    return None if math.isnan(number) else number
