"""Write the page of a run: its rankings, a map of the candidates, their labels of U (`fute view`)."""

from __future__ import annotations

import math
import webbrowser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fute import paths
from fute.artifacts import atomic, read_jsonl
from fute.config.unsup import LM
from fute.display_names import METHOD_NAMES
from fute.embeddings.vectors import LABELCOV, in_one_space, load
from fute.evaluation.geometry import project
from fute.front.places import is_run
from fute.front.rank import RankedRun, ranked
from fute.front.view_page import SCRIPT, TEMPLATE
from fute.paper.candidates import MODELS, PROMPTS, Ranking, rankings
from fute.paper.interactive_map import (
    DATASET,
    Point,
    Said,
    map_of,
    map_parts,
    maps_of,
    prompt_lines,
    script_hash,
    series,
)
from fute.paper.ranking import explain, overview
from fute.paper.terminal import read_evaluation, read_result

if TYPE_CHECKING:
    from fute.paper.figures import Look

PAGE = "view.html"
MOST_TEXTS = 30
"""Texts of U shown, on which the first two candidates differ."""
MOST_CLASSES = 60
"""More different answers than these are no classes, and get no table."""
MOST_CONFUSIONS = 8
"""Candidates of a ranking whose confusions are a table each, from the first on; the map names one of every point."""
LONGEST = 1000
"""Characters of a text that are shown."""

KINDS = (("prompt",), ("source", "model"))
"""Kinds of candidates that share a map."""
TITLES = {True: "Prompts", False: "Fine-tuned models"}

Confusion = Counter[tuple[str, str]]
"""How often test rows of one class got a label, by (class, label)."""


@dataclass(frozen=True)
class Shown:
    """A ranking with what the page says of it.

    corpus: the U that the candidates label. confusions: candidate -> its confusions on test rows; empty where the run
    has no such rows.
    """

    ranking: Ranking
    corpus: str
    confusions: Mapping[str, Confusion]

    def point(self, candidate: str) -> Point:
        return (candidate, self.ranking.dataset) if self.ranking.kind == "model" else (self.ranking.model, candidate)


def view_run(name: str | None, results: Path | None, output: Path | None, open_page: bool) -> Path:
    """Write the page of a run, print its path, and open it in the browser if asked.

    name: folder with a `run.yaml`, or a dataset; None: all datasets of the results. results: folder of results; None:
    the project's for a folder, else `results`. output: None: in the run's folder, else in the current one. Returns the
    path of the page. Raises NoResults if the results are not there, or are of another run.
    """
    ranked_run = ranked(name, results) if name is not None else _all(results or Path("results"))
    if output is None:
        output = Path(name) / PAGE if name is not None and is_run(name) else Path(PAGE)
    text = page(ranked_run, name or "all datasets")
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic(output) as path:
        path.write_text(text, encoding="utf8")
    print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB; it needs no network)")
    if open_page and not webbrowser.open(output.absolute().as_uri()):
        print("no browser was found here; open the file in one")
    return output


def _all(results: Path) -> RankedRun:
    """The rankings of all datasets of a finished run."""
    datasets: dict[str, None] = {}
    for name, column in ((PROMPTS, "dataset"), (MODELS, "target")):
        if (results / "evaluation" / name).is_file():
            datasets |= dict.fromkeys(read_evaluation(results / "evaluation" / name, column)[column])
    return RankedRun(results, rankings(results, list(datasets)), {})


def page(ranked_run: RankedRun, name: str) -> str:
    """The HTML of the page; nothing in it is loaded from elsewhere. name: of the run."""
    from jinja2 import Environment, StrictUndefined

    shown = _shown(ranked_run)
    maps = [each for kinds in KINDS for each in _maps(ranked_run, [s for s in shown if s.ranking.kind in kinds])]
    parts = map_parts(maps)
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE)
    return template.render(
        title=name,
        rankings=[_ranking(ranked_run, each) for each in shown],
        shares=list(_shares(ranked_run.results, shown)),
        map=parts,
        no_map="" if parts else _no_map(ranked_run),
        script=SCRIPT,
        hashes=" ".join([script_hash(SCRIPT), *(parts.hashes if parts else ())]),
    )


def _shown(ranked_run: RankedRun) -> list[Shown]:
    corpora: dict[str, str] = {}
    if any(ranking.kind == "prompt" for ranking in ranked_run.rankings):
        similar = read_evaluation(ranked_run.results / "evaluation" / PROMPTS, "dataset", "category")
        corpora = dict(zip(similar["dataset"], similar["category"], strict=True))
    shown = []
    for ranking in ranked_run.rankings:
        confusions = {}
        if ranking.kind == "prompt":
            confusions = {each: _confusion(ranked_run.results, ranking, each) for each in ranking.order}
        shown.append(Shown(ranking, corpora[ranking.dataset] if ranking.kind == "prompt" else LM, confusions))
    return shown


def _ranking(ranked_run: RankedRun, shown: Shown) -> dict[str, Any]:
    """What the page shows of a ranking: its table, the sentences below it, confusions, texts that tell two apart."""
    table = overview(shown.ranking, ranked_run.texts)
    said: list[str] = []
    explain(shown.ranking, lambda text, **_: said.append(text.strip()))
    return {
        "title": table.title,
        "heads": [str(column.header) for column in table.columns],
        "rows": list(zip(*(map(str, column.cells) for column in table.columns), strict=True)),
        "caption": table.caption or "",
        "said": said[:-1],
        "advice": said[-1],
        "confusions": [
            _confusion_table(each, counts)
            for each, counts in list(shown.confusions.items())[:MOST_CONFUSIONS]
            if counts
        ],
        "apart": _apart(ranked_run.results, shown),
    }


# --- labels ---------------------------------------------------------------------------------------------


def _labels(results: Path, point: Point, corpus: str) -> list[dict[str, Any]] | None:
    """The labels that a black box gives to a corpus; None if the run has none."""
    path = paths.below(results, paths.labels(*point, corpus))
    return read_result(path, read_jsonl) if path.is_file() else None


def _word(label: str | None) -> str:
    return "no label" if label is None else str(label)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _heat(caption: str, corner: str, classes: Sequence[str], rows: Sequence[tuple[str, list[float | None]]]) -> dict:
    """A table whose cells are shaded by their share of the row. rows: name and values; None for an empty cell."""
    lines = []
    for name, values in rows:
        total = sum(value or 0 for value in values)
        texts = [
            "" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value) for value in values
        ]
        shades = [round(55 * (value or 0) / total) if total else 0 for value in values]
        lines.append((name, list(zip(texts, shades, strict=True))))
    return {"caption": caption, "heads": [corner, *classes], "rows": lines}


def _classes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Classes of labelled rows in their order; what was answered if the task has none."""
    named = dict.fromkeys(str(each) for row in rows for each in row.get("classes") or ())
    return list(named | dict.fromkeys(_word(row.get("prediction")) for row in rows))


def _shares(results: Path, shown: Sequence[Shown]) -> Iterator[dict[str, Any]]:
    """Label distribution on U per candidate: a table per model and U, and notes on what is missing."""
    groups: dict[tuple[str, ...], dict[str, Point]] = {}
    for each in shown:
        ranking = each.ranking
        of = f"of {ranking.model}" if ranking.model else f"for {ranking.dataset}"
        candidates = groups.setdefault((ranking.kind, of, each.corpus), {})
        candidates |= {name: each.point(name) for name in ranking.order if name not in candidates}
    for (kind, of, corpus), candidates in groups.items():
        counts: dict[str, Counter[str]] = {}
        own: dict[str, list[str]] = {}
        for name, point in candidates.items():
            if (rows := _labels(results, point, corpus)) is not None:
                counts[name] = Counter(_word(row.get("prediction")) for row in rows)
                own[name] = _classes(rows)
        classes = list(dict.fromkeys(each for names in own.values() for each in names))
        missing = [name for name in candidates if name not in counts]
        notes = [f"There are no labels of U by {', '.join(missing)}."] if missing else []
        if len(classes) > MOST_CLASSES:
            notes.append(f"The answers are no classes: there are {len(classes)} different ones.")
            counts = {}
        shares = [
            (name, [100 * each[label] / each.total() if label in own[name] else None for label in classes])
            for name, each in counts.items()
        ]
        title = f"Labels that the {kind}s {of} give to U, in percent"
        yield {"table": _heat(title, kind.capitalize(), classes, shares) if shares else None, "notes": notes}


def _confusion(results: Path, ranking: Ranking, prompt: str) -> Confusion:
    test = paths.below(results, paths.rows(ranking.dataset, "test"))
    labels = _labels(results, (ranking.model, prompt), ranking.dataset)
    if labels is None or not test.is_file():
        return Counter()
    given = {row["id"]: _word(row.get("prediction")) for row in labels}
    rows = [(row["id"], row.get("label")) for row in read_result(test, read_jsonl)]
    return Counter((label, given[key]) for key, label in rows if label is not None and key in given)


def _confusion_table(candidate: str, counts: Confusion) -> dict[str, Any]:
    classes = sorted({name for pair in counts for name in pair})
    rows = [(gold, [counts[gold, label] for label in classes]) for gold in dict.fromkeys(sorted(g for g, _ in counts))]
    return _heat(f"Test rows by {candidate}: their class (rows) and label (columns)", "Class", classes, rows)


def _mistake(counts: Confusion) -> str:
    """The most frequent confusion in words; empty without one."""
    wrong = Counter({pair: count for pair, count in counts.items() if pair[0] != pair[1]})
    if not wrong:
        return ""
    (gold, label), count = wrong.most_common(1)[0]
    return f"most frequent mistake: {gold} taken for {label}, {count} of {counts.total()} rows"


def _apart(results: Path, shown: Shown) -> dict[str, Any]:
    """Texts of U on which the first two candidates differ, the largest differences first, and a note."""
    ranking = shown.ranking
    ranked_names = [] if ranking.first is None else [n for n in ranking.order if not math.isnan(ranking.first.ranks[n])]
    nothing: dict[str, Any] = {"names": ranked_names[:2], "rows": []}
    if len(ranked_names) < 2:
        return nothing | {"note": "No two candidates are ranked."}
    both = [_labels(results, shown.point(name), shown.corpus) for name in ranked_names[:2]]
    texts = paths.below(results, paths.unsup(shown.corpus))
    missing = [name for name, rows in zip(ranked_names, both, strict=False) if rows is None]
    if missing or not texts.is_file():
        lacking = f"are no labels of U by {', '.join(missing)}" if missing else f"is no file {texts}"
        return nothing | {"note": f"There {lacking}."}
    one, two = ({row["id"]: row for row in rows or ()} for rows in both)
    differ = [key for key in one if key in two and one[key].get("prediction") != two[key].get("prediction")]
    differ.sort(key=lambda key: -_distance(one[key], two[key]))
    segments = {row["id"]: row["segments"] for row in read_result(texts, read_jsonl)}
    rows = [
        (_cut("\n".join(segments.get(key, [key]))), *(_word(labels[key].get("prediction")) for labels in (one, two)))
        for key in differ[:MOST_TEXTS]
    ]
    rest = f"; the {MOST_TEXTS} with the largest difference are shown" if len(differ) > MOST_TEXTS else ""
    return nothing | {"rows": rows, "note": f"They differ on {len(differ)} of {len(one)} texts{rest}."}


def _distance(one: Mapping[str, Any], two: Mapping[str, Any]) -> float:
    """Total variation of two rows' probabilities; 0 where they are not known for the same classes."""
    if not one.get("probabilities") or not two.get("probabilities") or one.get("classes") != two.get("classes"):
        return 0.0
    return sum(abs(a - b) for a, b in zip(one["probabilities"], two["probabilities"], strict=True)) / 2


# --- the map --------------------------------------------------------------------------------------------


def _no_map(ranked_run: RankedRun) -> str:
    return (
        f"There is no map: {ranked_run.results / 'evaluation'} has no coordinates of these candidates, and "
        f"{ranked_run.results / 'embeddings'} no vectors of LabelCov. The workflow makes them, for two or more "
        "candidates that do not all answer alike."
    )


def _maps(ranked_run: RankedRun, shown: Sequence[Shown]) -> Iterator[dict[str, Any]]:
    """The maps of candidates of one experiment: those of the figures, and LabelCov's of candidates and datasets."""
    if shown:
        said = _said_of_points(ranked_run, shown)
        yield from _of_figures(ranked_run, shown, said)
        yield from _with_datasets(ranked_run, shown, said)


def _of_figures(ranked_run: RankedRun, shown: Sequence[Shown], said: Said) -> Iterator[dict[str, Any]]:
    """Maps by the coordinates of the paper's figures, one per method and view."""
    from fute.paper.figures import LLM_LOOK, LM_LOOK

    of_prompts = shown[0].ranking.kind == "prompt"
    look, file, name = (LLM_LOOK, "coordinates", "prompt") if of_prompts else (LM_LOOK, "lm_coordinates", "dataset")
    path = ranked_run.results / "evaluation" / f"{file}.csv"
    if not path.is_file():
        return
    group, model, _ = look.source
    table = read_evaluation(path, "method", "view", group, model, name, "tsne_x", "tsne_y", "pca_x", "pca_y")
    # the file may be of another run
    table = table[[pair in said for pair in zip(table[model], table[name], strict=True)]]
    yield from maps_of(TITLES[of_prompts], table, look, name, _groups(ranked_run, look, table[group]), lambda *_: said)


def _with_datasets(ranked_run: RankedRun, shown: Sequence[Shown], said: Said) -> Iterator[dict[str, Any]]:
    """A map of candidates and their datasets by LabelCov, if the run has its vectors.

    The figures' coordinates have no datasets, and those of a run that compares models do not exist. Vectors of other
    methods have too many entries for a look.
    """
    from fute.paper.figures import INK

    of_prompts = shown[0].ranking.kind == "prompt"
    surrogate = _surrogate(ranked_run, of_prompts)
    if surrogate is None:
        return
    classes = {each.point(name): each.corpus for each in shown for name in each.ranking.order} if of_prompts else {}
    boxes = [(paths.mte(surrogate, LABELCOV, *key), *key, classes.get(key, key[1]), *said[key]) for key in said]
    for each in {each.ranking.dataset: each for each in shown}.values():
        name = each.ranking.dataset
        own = each.corpus if of_prompts else name
        boxes.append((paths.dte(surrogate, LABELCOV, name), DATASET, name, own, False, [f"dataset {name}"]))
    boxes = [box for box in boxes if paths.below(ranked_run.results, box[0]).is_file()]
    loaded = [load(paths.below(ranked_run.results, box[0])) for box in boxes]
    kept = [n for n, embedding in enumerate(loaded) if "no_vector" not in embedding.meta]
    points = pd.DataFrame([boxes[n][1:] for n in kept], columns=["model", "name", "class", "best", "said"])
    if len(points) < 2 or DATASET not in set(points["model"]):
        return
    projection = project(np.stack([e.vector for e in in_one_space([loaded[n] for n in kept])]).astype(np.float64))
    if np.isnan(projection.pca).any():
        return
    models = series(points["model"][points["model"] != DATASET]) | {DATASET: (DATASET, INK)}
    colours = {"class": _groups(ranked_run, None, points["class"]), "model": models}
    yield map_of(f"{TITLES[of_prompts]} and datasets, LabelCov", points, colours, projection.tsne, projection.pca)


def _surrogate(ranked_run: RankedRun, of_prompts: bool) -> str | None:
    """The model that LabelCov's vectors are learned with; None if the run has none."""
    if ranked_run.run is not None:
        return ranked_run.run.config.model_of(LABELCOV) if LABELCOV in ranked_run.run.config.methods else None
    similar = read_evaluation(ranked_run.results / "evaluation" / (PROMPTS if of_prompts else MODELS), "method")
    own = similar[similar["method"] == LABELCOV]
    return str(own["surrogate"].iloc[0]) if len(own) and "surrogate" in own else None


def _groups(ranked_run: RankedRun, look: Look | None, names: pd.Series) -> dict[str, tuple[str, str]]:
    """Title and colour of each class of points, as in the paper's figures. look: None for classes that they lack."""
    from fute.paper.figures import coloured

    if look is not None and look.groups is not None:
        return {name: look.groups[name] for name in dict.fromkeys(names)}
    known = {} if ranked_run.run is None else ranked_run.run.categories
    looks = {name: (known[name].title_of(name), known[name].colour) if name in known else (name, None)
             for name in dict.fromkeys(names)}  # fmt: skip
    return dict(coloured(looks))


def _said_of_points(ranked_run: RankedRun, shown: Sequence[Shown]) -> Said:
    said: dict[Point, tuple[bool, list[str]]] = {}
    for each in shown:
        ranking = each.ranking
        for place, candidate in enumerate(ranking.order):
            point = each.point(candidate)
            first, lines = said.get(point, (False, _head(ranked_run, ranking, point)))
            first |= place == 0 and ranking.first is not None
            said[point] = first, [*lines, *_standing(each, candidate, place)]
        if ranking.kind == "source":
            point = (ranking.model, ranking.dataset)
            first, lines = said.get(point, (False, _head(ranked_run, ranking, point)))
            said[point] = first, [*lines, f"the target of the ranking for {ranking.dataset}"]
    return said


def _head(ranked_run: RankedRun, ranking: Ranking, point: Point) -> list[str]:
    model, name = point
    head = f"prompt {name} of {model}" if ranking.kind == "prompt" else f"{model}, fine-tuned on {name}"
    return [head, *prompt_lines(ranked_run.texts.get(name, ""))]


def _standing(shown: Shown, candidate: str, place: int) -> list[str]:
    """Place, scores and accuracy of a candidate, and what it confuses."""
    ranking = shown.ranking
    parts = [f"{METHOD_NAMES[name]} {each.scores[candidate]:.4f}" for name, each in ranking.methods.items()]
    parts = [f"place {place + 1} of {len(ranking.order)}", *parts] if parts else ["not ranked"]
    if not math.isnan(ranking.quality[candidate]):
        parts.append(f"{ranking.quality[candidate]:.1f} % on test rows")
    mistake = _mistake(shown.confusions.get(candidate, Counter()))
    return [f"for {ranking.dataset}: {', '.join(parts)}", *([mistake] if mistake else [])]
