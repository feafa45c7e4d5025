"""Writers of Table 3: CSV, Markdown, LaTeX (booktabs) and the terminal.

Each takes the frame of `tables.table3_frame`, or `tables.beside_paper` where the cells are text already.
"""

from __future__ import annotations

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fute.paper.tables import REFERENCES, best_cells, text_frame

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "†": r"\textdagger{}",
    "–": "--",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it stands."""
    return "".join(_LATEX.get(character, character) for character in text)


def escape_markdown(text: str) -> str:
    """Text that neither ends a table cell nor starts markup."""
    for character in "\\|*_`<>":
        text = text.replace(character, "\\" + character)
    return text


def bold_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Which cells to set in bold: the best of each column, or none where the cells are text already."""
    if all(pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes):
        return best_cells(frame)
    return pd.DataFrame(False, index=frame.index, columns=frame.columns)


def _models(frame: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(frame.columns.get_level_values("model")))


def _blocks(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each category, in order."""
    categories = frame.index.get_level_values("category")
    return [(category, frame[categories == category]) for category in dict.fromkeys(categories)]


def to_csv(frame: pd.DataFrame) -> str:
    """One header line `category,method,{model}_{metric},...` and the printed values (empty where missing)."""
    flat = frame.map(lambda value: f"{value:.1f}", na_action="ignore")
    flat.columns = [f"{model}_{metric.lower()}" for model, metric in frame.columns]
    return flat.reset_index().to_csv(index=False, lineterminator="\n")


def _markdown_grid(frame: pd.DataFrame) -> str:
    shown, bold = text_frame(frame), bold_cells(frame)
    head = ["", "Method", *(f"{escape_markdown(model)} {metric}" for model, metric in frame.columns)]
    lines = ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * len(frame.columns)]
    for category, block in _blocks(shown):
        for position, ((_, method), cells) in enumerate(block.iterrows()):
            marks = bold.loc[(category, method)]
            values = [f"**{cell}**" if mark else cell for cell, mark in zip(cells, marks, strict=True)]
            lead = category if position == 0 else ""
            lines.append("| " + " | ".join([lead, escape_markdown(method), *values]) + " |")
    return "\n".join(lines)


def to_markdown(
    frame: pd.DataFrame, *, title: str, caption: str, intervals: pd.DataFrame | None = None, note: str = ""
) -> str:
    """A Markdown page: title, note, table, caption, and a second table with the intervals where given."""
    parts = [f"# {title}", f"**{note}**" if note else "", _markdown_grid(frame), caption]
    if intervals is not None:
        parts += ["## 95 % intervals", _markdown_grid(intervals)]
    return "\n\n".join(part for part in parts if part) + "\n"


def to_latex(frame: pd.DataFrame, *, caption: str, label: str, note: str = "") -> str:
    """A `table*` for a document that loads booktabs; needs no other package."""
    models, width = _models(frame), len(frame.columns) + 1
    spans, rules, start = [], [], 2
    for model in models:
        count = frame[model].shape[1]
        spans.append(rf"\multicolumn{{{count}}}{{c}}{{{escape_latex(model)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + count - 1}}}")
        start += count
    metrics = ["Method", *(escape_latex(metric) for _, metric in frame.columns)]
    shown, bold = text_frame(frame), bold_cells(frame)
    lines = [
        r"\begin{table*}[t]",
        r"\centering\small",
        rf"\begin{{tabular}}{{l{'r' * len(frame.columns)}}}",
        r"\toprule",
        " & ".join(["", *spans]).lstrip() + r" \\",
        " ".join(rules),
        " & ".join(metrics) + r" \\",
    ]
    for category, block in _blocks(shown):
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape_latex(category)}}}}} \\"]
        for (_, method), cells in block.iterrows():
            if method == REFERENCES[0]:
                lines.append(r"\addlinespace")
            marks = bold.loc[(category, method)]
            values = [
                rf"\textbf{{{escape_latex(cell)}}}" if mark else escape_latex(cell)
                for cell, mark in zip(cells, marks, strict=True)
            ]
            lines.append(" & ".join([escape_latex(method), *values]) + r" \\")
    text = escape_latex(caption) + (rf" \textbf{{{escape_latex(note)}}}" if note else "")
    lines += [
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{text}}}",
        rf"\label{{{label}}}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def print_table3(frame: pd.DataFrame, console: Console, *, title: str = "", note: str = "") -> None:
    """Print the table, one category after the other; the note stands under it, where the eye ends."""
    table = Table(box=box.SIMPLE_HEAD, title=Text(title) if title else None, title_justify="left", pad_edge=False)
    table.add_column("Method", no_wrap=True)
    for model, metric in frame.columns:
        first = metric == frame[model].columns[0]
        table.add_column(Text(f"{model if first else ''}\n{metric}"), justify="right", no_wrap=True)
    shown, bold = text_frame(frame), bold_cells(frame)
    for category, block in _blocks(shown):
        table.add_row(Text(category, style="bold"))
        for (_, method), cells in block.iterrows():
            marks = bold.loc[(category, method)]
            values = [Text(cell, style="bold green" if mark else "") for cell, mark in zip(cells, marks, strict=True)]
            table.add_row(Text(f"  {method}"), *values, style="dim" if method in REFERENCES else "")
        table.add_section()
    console.print(table)
    if note:
        console.print(Text(note, style="yellow"))
