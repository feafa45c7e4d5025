"""Write the page of a run: its rankings, a map of the candidates, their labels of U (`fute view`)."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import textwrap
import webbrowser
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
from fute.front.places import RUN_FILE
from fute.front.rank import Ranked, ranked
from fute.front.view_page import SCRIPT, TEMPLATE
from fute.paper.candidates import MODELS, PROMPTS, Ranking, rankings
from fute.paper.ranking import explain, overview
from fute.paper.terminal import NoResults, read_evaluation

if TYPE_CHECKING:
    from fute.paper.figures import Look

PAGE = "view.html"
MOST_TEXTS = 30
"""Texts of U shown, on which the first two candidates differ."""
MOST_CLASSES = 60
"""More different answers than these are no classes, and get no table."""
LONGEST = 1000
"""Characters of a text that are shown."""
LINE, LINES = 80, 8
"""Length and number of the lines of a prompt beside its point."""

DATASET = "dataset"
"""Stands in place of a model for the points of datasets."""

Point = tuple[str, str]
"""Model, and the prompt that it has or the dataset that it was fine-tuned on."""


def view_run(name: str | None, results: Path | None, output: Path | None, open_page: bool) -> Path:
    """Write the page of a run, print its path, and open it in the browser if asked.

    name: folder with a `run.yaml`, or a dataset; None: all datasets of the results. results: folder of results; None:
    the project's for a folder, else `results`. output: None: in the run's folder, else in the current one. Returns the
    path of the page. Raises NoResults if the results are not there, or are of another run.
    """
    found = ranked(name, results) if name is not None else _all(results or Path("results"))
    if output is None:
        output = Path(name) / PAGE if name is not None and (Path(name) / RUN_FILE).is_file() else Path(PAGE)
    text = page(found, name or "all datasets")
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic(output) as path:
        path.write_text(text, encoding="utf8")
    print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB; it needs no network)")
    if open_page and not webbrowser.open(output.absolute().as_uri()):
        print("no browser was found here; open the file in one")
    return output


def _all(results: Path) -> Ranked:
    """The rankings of all datasets of a finished run."""
    datasets: dict[str, None] = {}
    for name, column in ((PROMPTS, "dataset"), (MODELS, "target")):
        if (results / "evaluation" / name).is_file():
            datasets |= dict.fromkeys(read_evaluation(results / "evaluation" / name, column)[column])
    return Ranked(results, rankings(results, list(datasets)), {})


def page(found: Ranked, name: str) -> str:
    """The HTML of the page; nothing in it is loaded from elsewhere. name: of the run."""
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    maps = [*_maps(found), *_with_datasets(found)]
    library = get_plotlyjs() if maps else ""
    # no text can end the element: JSON needs no `<` outside strings
    data = json.dumps(maps, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE)
    return template.render(
        title=name,
        rankings=[_ranking(found, ranking) for ranking in found.rankings],
        shares=list(_shares(found)),
        maps=[each["title"] for each in maps],
        no_map="" if maps else _no_map(found),
        data=data,
        library=library,
        script=SCRIPT,
        hashes=" ".join(f"'sha256-{_digest(text)}'" for text in (library, SCRIPT)),
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _ranking(found: Ranked, ranking: Ranking) -> dict[str, Any]:
    """What the page shows of a ranking: its table, the sentences below it, confusions, texts that tell two apart."""
    table = overview(ranking, found.texts)
    said: list[str] = []
    explain(ranking, lambda text, *_: said.append(text.strip()))
    confusions = [(each, _confusion(found.results, ranking, each)) for each in ranking.order]
    return {
        "title": table.title,
        "heads": [str(column.header) for column in table.columns],
        "rows": list(zip(*(map(str, column.cells) for column in table.columns), strict=True)),
        "caption": table.caption or "",
        "said": said[:-1],
        "advice": said[-1],
        "confusions": [_confusion_table(each, counts) for each, counts in confusions if counts],
        "apart": _apart(found.results, ranking),
    }


# --- labels ---------------------------------------------------------------------------------------------


def _rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a file of results. Raises NoResults for a damaged one."""
    try:
        return read_jsonl(path)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise NoResults(f"{path} cannot be read ({error}); remove it, and run the workflow again") from None


def _labels(results: Path, ranking: Ranking, candidate: str, corpus: str) -> list[dict[str, Any]] | None:
    """The labels that a candidate gives to a corpus; None if the run has none."""
    box = (candidate, ranking.dataset) if ranking.kind == "model" else (ranking.model, candidate)
    path = paths.below(results, paths.labels(*box, corpus))
    return _rows(path) if path.is_file() else None


def _corpus(results: Path, ranking: Ranking) -> str:
    """The U that the candidates of a ranking label."""
    if ranking.kind != "prompt":
        return LM
    similar = read_evaluation(results / "evaluation" / PROMPTS, "dataset", "category")
    return str(similar.loc[similar["dataset"] == ranking.dataset, "category"].iloc[0])


def _shown(label: str | None) -> str:
    return "no label" if label is None else str(label)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _heat(caption: str, corner: str, classes: Sequence[str], rows: Mapping[str, Counter[str]], unit: str) -> dict:
    """A table whose cells are shaded by their share of the row. unit: `%` for shares, empty for counts."""
    lines = []
    for name, counts in rows.items():
        total = sum(counts.values())
        shares = [counts[each] / total if total else 0.0 for each in classes]
        texts = [
            f"{100 * share:.1f}" if unit else str(counts[each]) for share, each in zip(shares, classes, strict=True)
        ]
        lines.append((name, [(text, round(55 * share)) for text, share in zip(texts, shares, strict=True)]))
    return {"caption": caption, "heads": [corner, *classes], "rows": lines}


def _classes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Classes of labelled rows in their order; what was answered if the task has none."""
    named = dict.fromkeys(str(each) for row in rows for each in row.get("classes") or ())
    return list(named | dict.fromkeys(_shown(row.get("prediction")) for row in rows))


def _shares(found: Ranked) -> Iterator[dict[str, Any]]:
    """Label distribution on U per candidate: a table per set of candidates, or a note that says why there is none."""
    seen: set[tuple[str, ...]] = set()
    for ranking in found.rankings:
        corpus = _corpus(found.results, ranking)
        candidates = sorted(ranking.order)
        target = ranking.dataset if ranking.kind == "model" else ""
        if (key := (ranking.kind, ranking.model, target, corpus, *candidates)) in seen:
            continue
        seen.add(key)
        of = f"of {ranking.model}" if ranking.model else f"for {ranking.dataset}"
        title = f"Labels that the {ranking.kind}s {of} give to U, in percent"
        counts: dict[str, Counter[str]] = {}
        classes: dict[str, None] = {}
        missing = []
        for candidate in ranking.order:
            rows = _labels(found.results, ranking, candidate, corpus)
            if rows is None:
                missing.append(candidate)
                continue
            counts[candidate] = Counter(_shown(row.get("prediction")) for row in rows)
            classes |= dict.fromkeys(_classes(rows))
        notes = [f"There are no labels of U by {', '.join(missing)}."] if missing else []
        if len(classes) > MOST_CLASSES:
            notes.append(f"The answers are no classes: there are {len(classes)} different ones.")
            counts = {}
        table = _heat(title, ranking.kind.capitalize(), list(classes), counts, "%") if counts else None
        yield {"table": table, "notes": notes}


def _confusion(results: Path, ranking: Ranking, prompt: str) -> Counter[tuple[str, str]]:
    """How often test rows of one class got a label, by (class, label); empty where the run has no such rows."""
    test = paths.below(results, paths.rows(ranking.dataset, "test"))
    if ranking.kind != "prompt" or not test.is_file():
        return Counter()
    given = {
        row["id"]: _shown(row.get("prediction")) for row in _labels(results, ranking, prompt, ranking.dataset) or ()
    }
    rows = [(row["id"], row.get("label")) for row in _rows(test)]
    return Counter((label, given[key]) for key, label in rows if label is not None and key in given)


def _confusion_table(candidate: str, counts: Counter[tuple[str, str]]) -> dict[str, Any]:
    classes = sorted({name for pair in counts for name in pair})
    rows = {gold: Counter({label: counts[gold, label] for label in classes}) for gold in classes}
    rows = {gold: row for gold, row in rows.items() if row.total()}
    return _heat(f"Test rows by {candidate}: their class (rows) and label (columns)", "Class", classes, rows, "")


def _mistake(counts: Counter[tuple[str, str]]) -> str:
    """The most frequent confusion in words; empty without one."""
    wrong = Counter({pair: count for pair, count in counts.items() if pair[0] != pair[1]})
    if not wrong:
        return ""
    (gold, label), count = wrong.most_common(1)[0]
    return f"most frequent mistake: {gold} taken for {label}, {count} of {counts.total()} rows"


def _apart(results: Path, ranking: Ranking) -> dict[str, Any]:
    """Texts of U on which the first two candidates differ, the most certain differences first, and a note."""
    ranked_names = [] if ranking.first is None else [n for n in ranking.order if not math.isnan(ranking.first.ranks[n])]
    nothing: dict[str, Any] = {"names": ranked_names[:2], "rows": []}
    if len(ranked_names) < 2:
        return nothing | {"note": "No two candidates are ranked."}
    corpus = _corpus(results, ranking)
    both = [_labels(results, ranking, name, corpus) for name in ranked_names[:2]]
    texts = paths.below(results, paths.unsup(corpus))
    missing = [name for name, rows in zip(ranked_names, both, strict=False) if rows is None]
    if missing or not texts.is_file():
        what = f"labels of U by {', '.join(missing)}" if missing else f"file {texts}"
        return nothing | {"note": f"There are no {what}." if missing else f"There is no {what}."}
    one, two = ({row["id"]: row for row in rows or ()} for rows in both)
    differ = [key for key in one if key in two and one[key].get("prediction") != two[key].get("prediction")]
    differ.sort(key=lambda key: -_distance(one[key], two[key]))
    segments = {row["id"]: row["segments"] for row in _rows(texts)}
    rows = [
        (_cut("\n".join(segments.get(key, [key]))), *(_shown(labels[key].get("prediction")) for labels in (one, two)))
        for key in differ[:MOST_TEXTS]
    ]
    shown = f"; the {MOST_TEXTS} with the largest difference are shown" if len(differ) > MOST_TEXTS else ""
    return nothing | {"rows": rows, "note": f"They differ on {len(differ)} of {len(one)} texts{shown}."}


def _distance(one: Mapping[str, Any], two: Mapping[str, Any]) -> float:
    """Total variation of two rows' probabilities; 0 where they are not known for the same classes."""
    if not one.get("probabilities") or not two.get("probabilities") or one.get("classes") != two.get("classes"):
        return 0.0
    return sum(abs(a - b) for a, b in zip(one["probabilities"], two["probabilities"], strict=True)) / 2


# --- the map --------------------------------------------------------------------------------------------


def _no_map(found: Ranked) -> str:
    return (
        f"There is no map: {found.results / 'evaluation'} has no coordinates of these candidates, and "
        f"{found.results / 'embeddings'} no vectors of LabelCov. The workflow makes them."
    )


def _maps(found: Ranked) -> Iterator[dict[str, Any]]:
    """The maps of the page, for its script: one per (experiment, method, view) that has points of the candidates."""
    from fute.paper.figures import LLM_LOOK, LM_LOOK

    for file, look, kinds in (
        ("coordinates.csv", LLM_LOOK, ("prompt",)),
        ("lm_coordinates.csv", LM_LOOK, ("source", "model")),
    ):
        said = _said_of_points(found, kinds)
        path = found.results / "evaluation" / file
        if not said or not path.is_file():
            continue
        group, model, _ = look.source
        name = "prompt" if kinds == ("prompt",) else "dataset"
        table = read_evaluation(path, "method", "view", group, model, name, "tsne_x", "tsne_y", "pca_x", "pca_y")
        table = table[[pair in said for pair in zip(table[model], table[name], strict=True)]]
        colours = {"class": _groups(found, look, table[group]), "model": _series(table[model])}
        for (method, view), rows in table.groupby(["method", "view"], sort=False):
            keys = list(zip(rows[model], rows[name], strict=True))
            yield {
                "title": f"{'Prompts' if name == 'prompt' else 'Fine-tuned models'}, "
                f"{METHOD_NAMES.get(str(method), str(method))}{', centred' if view == 'centred' else ''}",
                "colours": colours,
                "class": list(rows[group]),
                "model": list(rows[model]),
                "name": list(rows[name]),
                "best": [said[key][0] for key in keys],
                "said": [said[key][1] for key in keys],
                "tsne": _places(rows, "tsne"),
                "pca": _places(rows, "pca"),
            }


def _with_datasets(found: Ranked) -> Iterator[dict[str, Any]]:
    """Maps of candidates and their datasets by LabelCov, one for prompts and one for models that have vectors.

    The figures' coordinates have no datasets, and those of a run that compares models do not exist. Other methods have
    too many parameters for a look.
    """
    from fute.paper.figures import INK

    for kinds in (("prompt",), ("source", "model")):
        own = [ranking for ranking in found.rankings if ranking.kind in kinds]
        surrogate = _surrogate(found, kinds) if own else None
        if surrogate is None:
            continue
        said = _said_of_points(found, kinds)
        classes = {key: key[1] for key in said}
        if kinds == ("prompt",):
            classes = {(each.model, name): _corpus(found.results, each) for each in own for name in each.order}
        points = [(*key, classes[key], *said[key]) for key in said]
        files = [paths.mte(surrogate, LABELCOV, model, name) for model, name, *_ in points]
        for ranking in {ranking.dataset: ranking for ranking in own}.values():
            of = _corpus(found.results, ranking) if ranking.kind == "prompt" else ranking.dataset
            points.append((DATASET, ranking.dataset, of, False, [f"dataset {ranking.dataset}"]))
            files.append(paths.dte(surrogate, LABELCOV, ranking.dataset))
        places = [paths.below(found.results, file) for file in files]
        loaded = {n: load(path) for n, path in enumerate(places) if path.is_file()}
        loaded = {n: embedding for n, embedding in loaded.items() if "no_vector" not in embedding.meta}
        points = [points[n] for n in loaded]
        models = [point[0] for point in points]
        if DATASET not in models or len(points) < 2:
            continue
        projection = project(np.stack([each.vector for each in in_one_space(list(loaded.values()))]).astype(np.float64))
        yield {
            "title": f"{'Prompts' if kinds == ('prompt',) else 'Fine-tuned models'} and datasets, LabelCov",
            "colours": {
                "class": _groups(found, None, pd.Series([point[2] for point in points])),
                "model": _series(pd.Series([name for name in models if name != DATASET])) | {DATASET: (DATASET, INK)},
            },
            "model": models,
            "name": [point[1] for point in points],
            "class": [point[2] for point in points],
            "best": [point[3] for point in points],
            "said": [point[4] for point in points],
            "tsne": None if np.isnan(projection.tsne).any() else projection.tsne.T.tolist(),
            "pca": projection.pca.T.tolist(),
        }


def _surrogate(found: Ranked, kinds: Sequence[str]) -> str | None:
    """The model that LabelCov's vectors are learned with; None if the run has none."""
    if found.run is not None:
        return found.run.config.model_of(LABELCOV) if LABELCOV in found.run.config.methods else None
    similar = read_evaluation(found.results / "evaluation" / (PROMPTS if kinds == ("prompt",) else MODELS), "method")
    own = similar[similar["method"] == LABELCOV]
    return str(own["surrogate"].iloc[0]) if len(own) and "surrogate" in own else None


def _places(rows: pd.DataFrame, view: str) -> list[list[float]] | None:
    """x and y of all points; None if they are not defined, as t-SNE is not for few vectors."""
    places = rows[[f"{view}_x", f"{view}_y"]]
    return None if places.isna().any(axis=None) else [list(places[name]) for name in places]


def _series(names: pd.Series) -> dict[str, tuple[str, str]]:
    from fute.paper.figures import CYCLE

    return {name: (name, colour) for name, colour in zip(dict.fromkeys(names), itertools.cycle(CYCLE), strict=False)}


def _groups(found: Ranked, look: Look | None, names: pd.Series) -> dict[str, tuple[str, str]]:
    """Title and colour of each class of points, as in the paper's figures. look: None for classes that they lack."""
    from fute.paper.figures import coloured

    if look is not None and look.groups is not None:
        return {name: look.groups[name] for name in dict.fromkeys(names)}
    known = {} if found.run is None else found.run.categories
    looks = {name: (known[name].title_of(name), known[name].colour) if name in known else (name, None)
             for name in dict.fromkeys(names)}  # fmt: skip
    return dict(coloured(looks))


def _said_of_points(found: Ranked, kinds: Sequence[str]) -> dict[Point, tuple[bool, list[str]]]:
    """Of each point of rankings of these kinds: whether it is the first of one, and the lines that stand beside it."""
    said: dict[Point, tuple[bool, list[str]]] = {}
    for ranking in found.rankings:
        if ranking.kind not in kinds:
            continue
        for place, candidate in enumerate(ranking.order):
            point = (candidate, ranking.dataset) if ranking.kind == "model" else (ranking.model, candidate)
            first, lines = said.get(point, (False, _head(found, ranking, point)))
            first |= place == 0 and ranking.first is not None
            said[point] = first, [*lines, *_standing(found, ranking, candidate, place)]
        if ranking.kind == "source":
            point = (ranking.model, ranking.dataset)
            first, lines = said.get(point, (False, _head(found, ranking, point)))
            said[point] = first, [*lines, f"the target of the ranking for {ranking.dataset}"]
    return said


def _head(found: Ranked, ranking: Ranking, point: Point) -> list[str]:
    model, name = point
    text = textwrap.wrap(found.texts.get(name, ""), LINE, max_lines=LINES, placeholder=" …")
    return [f"{'prompt' if ranking.kind == 'prompt' else 'dataset'} {name}, model {model}", *text]


def _standing(found: Ranked, ranking: Ranking, candidate: str, place: int) -> list[str]:
    """Place, scores and accuracy of a candidate, and what it confuses."""
    parts = [f"{METHOD_NAMES[name]} {each.scores[candidate]:.4f}" for name, each in ranking.methods.items()]
    parts = [f"place {place + 1} of {len(ranking.order)}", *parts] if parts else ["not ranked"]
    if not math.isnan(ranking.quality[candidate]):
        parts.append(f"{ranking.quality[candidate]:.1f} % on test rows")
    mistake = _mistake(_confusion(found.results, ranking, candidate))
    return [f"for {ranking.dataset}: {', '.join(parts)}", *([mistake] if mistake else [])]
