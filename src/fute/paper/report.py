"""Write one HTML page that shows what was run, the results, and how far to trust them.

The page needs no network: images are data URIs, style and script are inline, and a policy forbids all else. Without
scripts it lacks its map alone. The sections of the experiments are in `report_lm` and `report_llm`, what the map says
in `report_maps`, the layout is in `html_template`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

from fute.display_names import duration
from fute.paper.grids import list_grid
from fute.paper.html_template import TEMPLATE
from fute.paper.interactive_map import map_parts
from fute.paper.learning import learning_grids, learning_warnings
from fute.paper.report_data import data_section, unsup_section
from fute.paper.report_llm import LlmResults, llm_sections
from fute.paper.report_lm import LmResults, lm_sections, planted_sections
from fute.paper.report_parts import Section

MAP_TEXT = (
    "The points of the figures with their texts and numbers. The figures themselves, with the statistics of the space "
    "that both are drawn from, stand above."
)


@dataclass(frozen=True)
class ReportContext:
    """Everything that the page shows.

    settings: settings of the run, name -> value. note: line for a small run, else empty. timings: columns rule, jobs,
    seconds; may have no rows. files: path from the repository root -> content. lm, llm: the run's experiments. counts:
    dataset -> content of its `counts.json`. unsup: name of a U drawn from CrossFit's scripts -> its `counts.csv`.
    """

    title: str
    lede: str
    settings: Mapping[str, str]
    timings: pd.DataFrame
    files: Mapping[str, str]
    note: str = ""
    lm: LmResults | None = None
    llm: LlmResults | None = None
    counts: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    unsup: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def _time_section(timings: pd.DataFrame) -> Section:
    if timings.empty:
        return Section("times", "Times", ["No benchmark files were found for this run."])
    total = pd.DataFrame({"rule": ["all"], "jobs": [timings["jobs"].sum()], "seconds": [timings["seconds"].sum()]})
    lines = pd.concat([timings, total], ignore_index=True)
    lines = lines.assign(time=lines["seconds"].map(duration), each=(lines["seconds"] / lines["jobs"]).map(duration))
    labels = {"rule": "Rule", "jobs": "Jobs", "time": "All jobs", "each": "One job"}
    grid = list_grid(
        lines,
        "Wall time by rule; jobs may have run side by side.",
        name="rule",
        groups=[],
        labels=labels,
    )
    return Section("times", "Times", tables=[grid])


def _learning_section(context: ReportContext) -> tuple[list[Section], bool]:
    """The section on the gates of all vectors, if any has one; and whether a dataset's did not learn."""
    texts, grids, failed = [], [], False
    for results, target in ((context.lm, "target"), (context.llm, "dataset")):
        if results is None or results.similarities.empty:
            continue
        texts += learning_warnings(results.similarities, target)
        grids += learning_grids(results.similarities, target)
        failed = failed or (results.similarities["dte_learned"] == "no").any()
    if not grids:
        return [], False
    lead = (
        "A vector stands for a dataset or a black box only if the surrogate learned it: on pairs that it was not "
        "trained on, it must do better than always giving the shares of the labels, and for a dataset its accuracy "
        "must be over the majority by two standard errors."
    )
    return [Section("learning", "Did the surrogates learn?", [*texts, lead], tables=grids)], failed


def render_report(context: ReportContext) -> str:
    """HTML of the page. Names from data are escaped."""
    run = Section("run", "What was run", pairs=list(context.settings.items()))
    learning, failed = _learning_section(context)
    maps = [*(context.lm.maps() if context.lm else ()), *(context.llm.maps() if context.llm else ())]
    sections = [
        *(planted_sections(context.lm) if context.lm else ()),
        *((*learning, run) if failed else (run, *learning)),
        *unsup_section(context.unsup),
        *(lm_sections(context.lm) if context.lm else ()),
        *(llm_sections(context.llm) if context.llm else ()),
        *([Section("interactive-map", "Map of the embeddings", [MAP_TEXT])] if maps else ()),
        *data_section(context.counts),
        _time_section(context.timings),
        Section("files", "Files", pairs=list(context.files.items()), paths=True),
    ]
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE)
    named = {"title": context.title, "lede": context.lede, "note": context.note}
    return page.render(**named, sections=sections, map=map_parts(maps))
