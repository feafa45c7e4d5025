"""Write the paper's tables as CSV, Markdown and LaTeX (booktabs), and to the terminal.

Each function takes a table as described in `cells`: (block, method) by (heading, metric), of numbers or of text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from rich.console import Console

from fute.artifacts import csv_bytes
from fute.paper.cells import REFERENCE_ROWS, best_cells, format_cell, text_frame

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
    "ρ": r"$\rho$",
}


def escape_latex(text: str) -> str:
    """Escape a text so that LaTeX prints it unchanged, on one line: an empty line would end a cell or caption."""
    return " ".join(text.split()).translate(str.maketrans(_LATEX))


def escape_markdown(text: str) -> str:
    """Escape a text so that it neither ends a line or table cell nor starts markup."""
    return re.sub(r"[\\|*_`<>\[\]&~$]", r"\\\g<0>", " ".join(text.split()))


def bold_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Booleans for the cells to print in bold: the best of each column, or none if the cells are text already."""
    if all(pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes):
        return best_cells(frame)
    return pd.DataFrame(False, index=frame.index, columns=frame.columns)


def _rows_name(frame: pd.DataFrame) -> str:
    """Heading over the names of the rows: the name of the index level, e.g. `Method`."""
    return frame.index.names[1].capitalize()


def to_csv(frame: pd.DataFrame, names: Sequence[str] | None = None) -> str:
    """CSV with one header line, e.g. `category,method,...`, and the printed values (empty where missing).

    names: names of the columns; by default `{heading}_{metric}`.
    """
    flat = frame.map(format_cell, na_action="ignore")
    flat.columns = names or [f"{heading}_{metric.lower()}" for heading, metric in frame.columns]
    return csv_bytes(flat.reset_index()).decode()


def _markdown_grid(frame: pd.DataFrame) -> str:
    shown, bold = text_frame(frame), bold_cells(frame)
    head = [
        "",
        _rows_name(frame),
        *(escape_markdown(f"{heading} {metric}".strip()) for heading, metric in frame.columns),
    ]
    lines = ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * len(frame.columns)]
    for name, block in shown.groupby(level=0, sort=False):
        for position, ((_, method), cells) in enumerate(block.iterrows()):
            marks = bold.loc[(name, method)]
            values = [f"**{cell}**" if mark else cell for cell, mark in zip(cells, marks, strict=True)]
            lead = escape_markdown(name) if position == 0 else ""
            lines.append("| " + " | ".join([lead, escape_markdown(method), *values]) + " |")
    return "\n".join(lines)


def to_markdown(
    frame: pd.DataFrame, *, title: str, caption: str, more: Mapping[str, pd.DataFrame] | None = None, note: str = ""
) -> str:
    """Markdown page: title, note, table, caption, and the tables of `more`, each under its title."""
    note = f"**{escape_markdown(note)}**" if note else ""
    parts = [f"# {title}", note, _markdown_grid(frame), escape_markdown(caption)]
    for heading, table in (more or {}).items():
        parts += [f"## {heading}", _markdown_grid(table)]
    return "\n\n".join(part for part in parts if part) + "\n"


def to_latex(frame: pd.DataFrame, *, caption: str, label: str, note: str = "", dense: bool = False) -> str:
    """LaTeX `table*` for a document that loads booktabs; needs no other package. dense: for many columns."""
    text = escape_latex(caption) + (rf" \textbf{{{escape_latex(note)}}}" if note else "")
    lines = [
        r"\begin{table*}[t]",
        r"\centering" + (r"\scriptsize\setlength{\tabcolsep}{3pt}" if dense else r"\small"),
        rf"\begin{{tabular}}{{l{'r' * len(frame.columns)}}}",
        r"\toprule",
        *_latex_head(frame),
        *_latex_body(frame),
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{text}}}",
        rf"\label{{{label}}}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _latex_head(frame: pd.DataFrame) -> Iterator[str]:
    """The headings over their columns, and the line of metrics."""
    spans, rules, start = [], [], 2
    for heading in dict.fromkeys(frame.columns.get_level_values(0)):
        count = frame[heading].shape[1]
        spans.append(rf"\multicolumn{{{count}}}{{c}}{{{escape_latex(heading)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + count - 1}}}")
        start += count
    metrics = [_rows_name(frame), *(escape_latex(metric) for _, metric in frame.columns)]
    yield " & ".join(["", *spans]).lstrip() + r" \\"
    yield " ".join(rules)
    yield " & ".join(metrics) + r" \\"


def _latex_body(frame: pd.DataFrame) -> Iterator[str]:
    """The rows of each block under its name, reference rows after a small space."""
    shown, bold = text_frame(frame), bold_cells(frame)
    for name, block in shown.groupby(level=0, sort=False):
        yield r"\midrule"
        yield rf"\multicolumn{{{len(frame.columns) + 1}}}{{l}}{{\textit{{{escape_latex(name)}}}}} \\"
        references = [method for _, method in block.index if method in REFERENCE_ROWS]
        for (_, method), cells in block.iterrows():
            if method in references[:1]:
                yield r"\addlinespace"
            texts = [
                rf"\textbf{{{escape_latex(cell)}}}" if mark else escape_latex(cell)
                for cell, mark in zip(cells, bold.loc[(name, method)], strict=True)
            ]
            yield " & ".join([escape_latex(method), *texts]) + r" \\"


def print_table(frame: pd.DataFrame, console: Console, *, title: str) -> None:
    """Print the table, one block after the other."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=Text(title), title_justify="left", pad_edge=False)
    table.add_column(_rows_name(frame), no_wrap=True)
    for heading, metric in frame.columns:
        first = metric == frame[heading].columns[0]
        table.add_column(Text(f"{heading if first else ''}\n{metric}"), justify="right", no_wrap=True)
    shown, bold = text_frame(frame), bold_cells(frame)
    for name, block in shown.groupby(level=0, sort=False):
        table.add_row(Text(name, style="bold"))
        for (_, method), cells in block.iterrows():
            marks = bold.loc[(name, method)]
            values = [Text(cell, style="bold green" if mark else "") for cell, mark in zip(cells, marks, strict=True)]
            table.add_row(Text(f"  {method}"), *values, style="dim" if method in REFERENCE_ROWS else "")
        table.add_section()
    console.print(table)
