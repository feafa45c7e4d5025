"""Order the candidates of a finished run, and say what the order rests on (`fute rank`).

Candidates are the prompts of an LLM, the datasets that a model was fine-tuned on, or the models that answer with the
classes of the target. A method takes part if it learned its task (docs/methods.md 6.1).
"""

from __future__ import annotations

import math
import re
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
EACH = LEVEL / 2
"""Largest p-value of either kind of evidence, scores and test rows, so that both together name a prompt that is none in
`LEVEL` of rankings of equal ones."""
DRAW = re.compile(r"null-\d+")
"""Columns of similarities with permuted labels, one per draw."""
NO_VECTOR = "no vector"
NOTHING = pd.Series(dtype=float)
"""No value of any candidate is known."""
MAJORITY = ""
"""Stands for always saying the most frequent class where candidates are compared."""
NEEDED = ("method", "model", "cosine", "mte_learned", "dte_learned", "unknown_tokens")
BESIDE = {"candidates_cosine": "Centred", "task2vec_cosine": "task2vec"}
"""Further similarities -> their headers: around the candidates' mean; of TaskEmb, each entry counting alike."""


@dataclass(frozen=True)
class Standing:
    """The ranking of the candidates by one method.

    scores: candidate -> cosine with the target. ranks: candidate -> rank from 1, equal scores share the lower number;
    NaN for a candidate whose vector did not learn or does not exist. unranked: such a candidate -> which of both.
    nulls: candidates by draws, scores with labels that one permutation of U's texts per draw has dealt anew; without
    columns if the run has no such control. one_order: candidate -> its score in the one order of texts that `nulls` are
    learned in. order_noise: standard deviation that the order of the training texts gives to a score, NaN without a
    control, and order_df, its degrees of freedom. verdict: of the test against that noise, empty without one. beside:
    candidates by headers of `BESIDE`, those of the method. largest_entry: candidate -> share of its cosine that one
    entry carries, NaN but for TaskEmb.
    """

    scores: pd.Series
    ranks: pd.Series
    unranked: Mapping[str, str]
    nulls: pd.DataFrame
    one_order: pd.Series
    order_noise: float
    order_df: float
    verdict: str
    beside: pd.DataFrame
    largest_entry: pd.Series

    @property
    def ranked(self) -> list[str]:
        """The candidates that have a rank."""
        return list(self.ranks.index[self.ranks.notna()])

    @property
    def permuted(self) -> bool:
        """Whether permuted labels say what chance does to a score. The order of texts alone does not: with other texts
        candidates differ by more."""
        return self.nulls.shape[1] > 0

    @property
    def noise(self) -> float:
        """Standard deviation that a score has by chance, between candidates; NaN if the run has no control."""
        if not self.permuted:
            return self.order_noise
        return float(np.sqrt(self.nulls.loc[self.ranked].var(axis=0, ddof=1).mean()))

    @property
    def noise_of(self) -> str:
        """What that chance is; empty if it is not known."""
        if self.permuted:
            return "permuted labels"
        return "" if math.isnan(self.order_noise) else "the order of the training texts"

    def bound(self, one: str, other: str) -> float:
        """Largest distance of the scores of two candidates that may be chance, at the level `EACH`; NaN if not known.

        By Student's t with one degree of freedom per draw, since what permuting does to the distance of these two is 0
        on average. Candidates that answer alike are moved together, so that others' distances say nothing of theirs.
        """
        bounds = []
        if self.permuted:
            distances = self.nulls.loc[one].to_numpy() - self.nulls.loc[other].to_numpy()
            bounds.append(_student(len(distances), EACH / 2) * math.sqrt(np.square(distances).mean()))
        if not math.isnan(self.order_noise):
            bounds.append(_student(self.order_df, EACH / 2) * math.sqrt(2) * self.order_noise)
        return max(bounds, default=math.nan)

    @property
    def ceiling(self) -> float:
        """What the best score reaches with permuted labels in all but `EACH` of draws; NaN for fewer than two draws.

        A prediction interval of one more draw: Student's t around the mean of the draws' best scores.
        """
        draws = self.nulls.shape[1]
        if draws < 2:
            return math.nan
        best = self.nulls.loc[self.ranked].max(axis=0)
        return float(best.mean() + _student(draws - 1, EACH) * best.std(ddof=1) * math.sqrt(1 + 1 / draws))


@dataclass(frozen=True)
class Ranking:
    """The candidates for one dataset in their order.

    model: the LLM of the prompts, or the model of the sources; empty for a ranking of models. order: candidates, best
    first: by the first method, those that it does not rank last. methods: method -> its standing, in the run's order.
    left_out: method -> why it takes no part. quality: candidate -> accuracy or score on labelled test rows, in percent,
    NaN where none is known. rows: test rows behind these numbers where they are accuracies, 0 if not known. majority:
    share in percent of the most frequent class among these rows, NaN where not known. tokens: candidate -> tokens that
    the LLM reads and writes per text, NaN where not known. warnings: of vectors that do not exist, or were learned from
    texts that could not be read. notes: what else bears on the order, or on the scores on test rows. direct: of
    sources, the score without transfer, NaN where not known. right: test rows by candidates, whether the candidate says
    the row's class, and under `MAJORITY` whether that is the most frequent one; None where single answers are not
    known.
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
    right: pd.DataFrame | None = None

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
        """True if the gap is more than chance, False if it may be; None where that is not known."""
        if self.first is None or math.isnan(gap := self.gap(place)):
            return None
        bound = self.first.bound(self.order[place], self.order[place + 1])
        if math.isnan(bound) or (gap > bound and not self.first.permuted):
            return None
        return gap > bound

    @property
    def tied_with_best(self) -> tuple[str, ...]:
        """Ranked candidates that cannot be told from the best, itself among them.

        Where it is not known what chance does, those with the same score.
        """
        if self.first is None or not self.order:
            return ()
        scores, best = self.first.scores, self.order[0]
        bounds = {name: self.first.bound(best, name) for name in self.first.ranked}
        alike = {name for name, bound in bounds.items() if not scores[best] - scores[name] > np.nan_to_num(bound)}
        return tuple(name for name in self.order if name in alike)

    def p_ahead(self, one: str, other: str) -> float:
        """One-sided p-value of `one` being right on more test rows than `other`, which may be `MAJORITY`; NaN without
        rows.

        McNemar's test by the rows on which just one of them is right, exact with mid-p (Fagerland, Lydersen and Laake
        2013), since answers to the same rows go together, or against each other. Where only the numbers of right
        answers are known, by Agresti and Caffo's difference of two shares (2000), as if the rows were others.
        """
        quality = {**self.quality, MAJORITY: self.majority}
        if not self.rows or math.isnan(quality[one] + quality[other]):
            return math.nan
        if self.right is not None:
            from scipy.special import bdtrc

            first, second = (self.right[name].to_numpy() for name in (one, other))
            won, lost = int((first & ~second).sum()), int((second & ~first).sum())
            return float(bdtrc(won, won + lost, 0.5) + bdtrc(won - 1, won + lost, 0.5)) / 2
        n = self.rows + 2
        high, low = ((quality[name] / 100 * self.rows + 1) / n for name in (one, other))
        return NormalDist().cdf((low - high) / math.sqrt((high * (1 - high) + low * (1 - low)) / n))

    @property
    def agreement(self) -> dict[tuple[str, str], float]:
        """Kendall's tau-b of each two methods, over the candidates that both rank; NaN for fewer than two of them."""
        pairs = combinations(self.methods, 2)
        return {pair: kendall(*(self.methods[name].ranks for name in pair)) for pair in pairs}

    @property
    def check(self) -> float:
        """Kendall's tau-b of the order with the quality on test rows; NaN where that is not known."""
        return math.nan if self.first is None else kendall(self.first.ranks, -self.quality)


def _student(df: float, tail: float) -> float:
    """The number that Student's t with `df` degrees of freedom exceeds with probability `tail`."""
    from scipy.special import stdtrit

    return float(stdtrit(df, 1 - tail))


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
        controls = read_evaluation(folder / "controls.csv", "method", "model", "dataset", "sd_order_noise", "order_df")
        controls = controls[(controls["dataset"] == dataset) & (controls["model"] == model)]
        quality, count, notes, right = NOTHING, 0, (), None
        if (folder / "performance.csv").is_file():
            scored = read_evaluation(folder / "performance.csv", "model", "prompt", "dataset", "n")
            scored = scored[(scored["model"] == model) & (scored["dataset"] == dataset)]
            if "accuracy" in scored and len(scored):
                quality, count = scored.set_index("prompt")["accuracy"], int(scored["n"].iloc[0])
                right = _right(results, str(model), list(quality.index), dataset)
            notes = tuple(_counts(scored))
        category = rows["category"].iloc[0] if "category" in rows else ""
        tokens = {prompt: _tokens(results, str(model), prompt, category) for prompt in dict.fromkeys(rows["prompt"])}
        yield _ranking(
            rows, "prompt", dataset, str(model), controls=controls, quality=quality, count=count,
            majority=_majority(results, dataset), tokens=pd.Series(tokens), notes=notes, right=right,
        )  # fmt: skip


def _right(results: Path, model: str, prompts: Sequence[str], dataset: str) -> pd.DataFrame | None:
    """The `right` of a ranking of prompts; None if there are no files of test rows, or of what prompts say of them."""
    test = paths.below(results, paths.rows(dataset, "test"))
    said = {prompt: paths.below(results, paths.labels(model, prompt, dataset)) for prompt in prompts}
    if not all(path.is_file() for path in (test, *said.values())):
        return None
    gold = pd.Series({row["id"]: row["label"] for row in read_result(test, read_jsonl)})
    right = {MAJORITY: gold == gold.value_counts().index[0]}
    for prompt, path in said.items():
        answers = pd.Series({row["id"]: row["prediction"] for row in read_result(path, read_jsonl)}, dtype=object)
        if set(answers.index) != set(gold.index):
            raise ValueError(f"{path}: its rows are not those of {test}; remove it, and run the workflow again")
        right[prompt] = answers.reindex(gold.index) == gold
    return pd.DataFrame(right)


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
    notes: tuple[str, ...] = (), direct: float = math.nan, right: pd.DataFrame | None = None,
) -> Ranking:  # fmt: skip
    """Ranking from rows of similarities of one dataset.

    kind: also the column of the candidates. controls: rows, one per method; None: there are none. quality, majority,
    tokens, notes, direct, right, and count (its `rows`): those of the ranking.
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
        direct=direct, right=right,
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

    unranked = _unranked(own)
    ranks = own["cosine"].drop(list(unranked)).rank(ascending=False, method="min").reindex(own.index)
    beside = {header: own[column] for column, header in BESIDE.items() if column in own and own[column].notna().all()}
    draws = [name for name in own if DRAW.fullmatch(name) and own[name].notna().all()]
    return Standing(
        own["cosine"], ranks, unranked, nulls=own[draws], one_order=own["one_order_cosine"] if draws else own["cosine"],
        order_noise=control("sd_order_noise"), order_df=control("order_df"),
        verdict=str(checks["verdict"].iloc[0]) if len(checks) and "verdict" in checks else "",
        beside=pd.DataFrame(beside, index=own.index),
        largest_entry=own.get("largest_entry", pd.Series(math.nan, index=own.index)),
    )  # fmt: skip


def advice(ranking: Ranking) -> str:
    """One sentence that says what to do.

    The scores decide as far as they tell candidates apart; among those that they do not, the test rows. Where a
    candidate is right on more test rows than the first by the scores, and chance does not explain it, the rows decide.
    """
    what, best, known = ranking.kind, ranking.tied_with_best, ranking.quality.dropna()
    if ranking.first is None:
        reasons = ", ".join(f"{METHOD_NAMES[name]} {reason}" for name, reason in ranking.left_out.items())
        other = "" if "labelcov" in ranking.left_out else ", or the method labelcov"
        no_scores = f"{reasons}; take more labelled rows or unlabelled texts{other} (docs/methods.md 6.1)"
        if _beats_majority(ranking, list(known.index), len(known)):
            return (
                f"use {what} {known.idxmax()} by the test rows alone, of which it gets more right than always saying "
                f"the most frequent class by more than chance can explain: {no_scores}"
            )
        return f"no {what} can be recommended: {no_scores}"
    if len(ranking.order) == 1:
        return f"there is one {what}, {ranking.order[0]}: name a second one to choose from"
    standing, method = ranking.first, METHOD_NAMES[next(iter(ranking.methods))]
    alike = len(best) == len(standing.ranked)
    if alike and standing.scores[list(best)].nunique() == 1 and known.reindex(best).nunique() < 2:
        return f"nothing to choose by: {named(what, best)} score alike on these data"
    others = known.index.drop(best[0], errors="ignore")
    ahead = [name for name in others if ranking.p_ahead(name, best[0]) * len(others) <= EACH]
    among = ahead or (best if standing.noise_of else standing.ranked)
    scored = [name for name in ranking.order if name in among and name in known]
    use = max(scored, key=known.__getitem__) if scored else best[0]
    tried = len(known) if ahead else len(scored)
    parts = [f"use {what} {use}"]
    if standing.one_order[use] <= standing.ceiling and not _beats_majority(ranking, [use], tried):
        parts[0] += (
            f" only for want of a better one: by {method}, its answers to U agree with the dataset no more than "
            "permuted ones do"
        )
    none_better = f"none of these has a better score on the test rows than {use}"
    if ahead:
        parts.append(
            f"on the {ranking.rows} test rows it is right on {known[use]:.1f} % and {best[0]}, the first by {method}, "
            f"on {known[best[0]]:.1f} %, more than chance can explain"
        )
    elif not standing.noise_of:
        lacks = "the run has no null_draws" if what == "prompt" else "only prompts have controls"
        parts += [f"no {what} has a better score on the test rows"] if scored else []
        parts.append(f"how far chance moves the scores of {method} is not known, as {lacks}")
    elif len(best) > 1:
        parts.append(f"{method} cannot tell {named(what, best)} apart{f', and {none_better}' if scored else ''}")
    elif standing.permuted:
        parts.append(f"by {method} it is ahead of every other {what} by more than permuted labels can explain")
        rivals = known.drop(use, errors="ignore")
        if scored and len(rivals):  # scores can differ where candidates are equally good
            shown = ranking.p_ahead(use, rivals.idxmax()) <= LEVEL
            parts[-1] += ", and the test rows show it, too" if shown else ", which the test rows do not show"
    else:
        parts.append(
            f"by {method} it is ahead of every other {what} by more than the order of the training texts can explain; "
            "if with other texts, too, is not known without null_draws"
        )
    compared = ranking.rows and not math.isnan(ranking.majority)
    if compared and not _beats_majority(ranking, list(known.index), len(known)):
        parts.append(
            f"no {what} is better on the test rows than always saying the most frequent class by more than chance can "
            "explain"
        )
    elif known.max() <= ranking.direct:
        parts.append("no source gives a better score on the test rows than training without transfer")
    return "; ".join(parts)


def _beats_majority(ranking: Ranking, names: Sequence[str], tried: int) -> bool:
    """Whether one of these candidates, chosen among `tried` ones, is right on more test rows than the most frequent
    class alone by more than chance can explain."""
    return any(ranking.p_ahead(name, MAJORITY) * tried <= EACH for name in names)


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
