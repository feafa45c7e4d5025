"""Steps that write the tables, figures and the report."""

from __future__ import annotations

from pathlib import Path

import typer

from fute.cli.options import Json, PathOption, parsed_json

app = typer.Typer()


@app.command()
def table3(settings: Json, table3: PathOption, csv: PathOption, markdown: PathOption, latex: PathOption) -> None:
    """Write Table 3 in the paper's layout."""
    from fute.paper.table3_step import TableSettings, write_table3

    parsed = TableSettings.model_validate(parsed_json(settings))
    write_table3(parsed, table3=table3, csv=csv, markdown=markdown, latex=latex)


@app.command()
def transfer_table(
    settings: Json, cells: PathOption, targets: PathOption, direct: PathOption, printed: PathOption, csv: PathOption,
    markdown: PathOption, latex: PathOption,
) -> None:  # fmt: skip
    """Write Table 1 or 2 in the paper's layout, ours above the paper's."""
    from fute.paper.transfer_table_step import TransferTableSettings, write_transfer_table

    write_transfer_table(
        TransferTableSettings.model_validate(parsed_json(settings)), cells=cells, targets=targets, direct=direct,
        printed=printed, csv=csv, markdown=markdown, latex=latex,
    )  # fmt: skip


@app.command()
def efficiency(
    files: list[Path], settings: Json, benchmarks: PathOption, embeddings: PathOption, calls: PathOption,
    costs: PathOption, markdown: PathOption,
) -> None:  # fmt: skip
    """What embeddings and LLM calls of a run cost."""
    from fute.paper.efficiency_step import EfficiencySettings, write_efficiency

    write_efficiency(
        EfficiencySettings.model_validate(parsed_json(settings)), files=files, benchmarks=benchmarks,
        embeddings=embeddings, calls=calls, costs=costs, markdown=markdown,
    )  # fmt: skip


@app.command()
def figure(settings: Json, coordinates: PathOption, geometry: PathOption, base: PathOption) -> None:
    """Draw Figure 3, A1, 4 or A2."""
    from fute.paper.table3_step import FigureSettings, write_figure

    parsed = FigureSettings.model_validate(parsed_json(settings))
    write_figure(parsed, coordinates=coordinates, geometry=geometry, base=base)


@app.command()
def report(
    inputs: list[Path], settings: Json, evaluation: PathOption, printed: PathOption, benchmarks: PathOption,
    output: PathOption,
) -> None:  # fmt: skip
    """Write the report of a run."""
    from fute.paper.report_step import ReportSettings, write_report

    parsed = ReportSettings.model_validate(parsed_json(settings))
    write_report(parsed, evaluation=evaluation, printed=printed, benchmarks=benchmarks, inputs=inputs, output=output)
