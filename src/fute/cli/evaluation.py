"""Steps that compare vectors and hold every method against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fute.cli.options import Json, PathOption, named, parsed_json

app = typer.Typer()


@app.command()
def baseline_scores(
    labels: list[Path],
    ranking: PathOption,
    output: PathOption,
    zps_flip: Annotated[bool, typer.Option("--zps-flip", help="the authors' slip on SA")] = False,
    list_as_scores: Annotated[bool, typer.Option("--list-as-scores", help="their slip with Self-Select")] = False,
) -> None:
    """Score the prompts of one LLM and dataset by every baseline."""
    from fute.baselines.baseline_scores_step import baseline_scores as step

    step(labels, ranking, output, zps_flip=zps_flip, list_as_scores=list_as_scores)


@app.command()
def lm_baselines(
    settings: Json, output: PathOption,
    curve: Annotated[list[str] | None, typer.Option(help="DATASET=PATH, for CurveGrad")] = None,
    counts: Annotated[list[str] | None, typer.Option(help="DATASET=PATH, for DataSize if no sizes are given")] = None,
    vector: Annotated[list[str] | None, typer.Option(help="METHOD:DATASET=PATH, for TextEmb, TaskEmb, TuPaTE")] = None,
) -> None:  # fmt: skip
    """Score sources by the size of their data, their loss curves, and the vectors of datasets."""
    from fute.baselines.lm_baselines_step import LmBaselineSettings
    from fute.baselines.lm_baselines_step import lm_baselines as step

    parsed = LmBaselineSettings.model_validate(parsed_json(settings))
    files = {"curves": named(curve or []), "counts": named(counts or []), "vectors": named(vector or [])}
    step(parsed, **files, output=output)


@app.command()
def similarities(files: list[Path], settings: Json, similarities: PathOption, controls: PathOption) -> None:
    """Compare model task embeddings with dataset task embeddings, and with their controls."""
    from fute.evaluation.similarities_step import SimilaritySettings, compare

    parsed = SimilaritySettings.model_validate(parsed_json(settings))
    compare(parsed, files=files, similarities=similarities, controls=controls)


@app.command()
def lm_similarities(files: list[Path], settings: Json, output: PathOption) -> None:
    """Compare embeddings of fine-tuned language models with dataset task embeddings."""
    from fute.evaluation.lm_similarities_step import LmSimilaritySettings, compare_models

    compare_models(LmSimilaritySettings.model_validate(parsed_json(settings)), files=files, output=output)


@app.command()
def selection(
    files: list[Path], settings: Json, similarities: PathOption, performance: PathOption, selection: PathOption,
    table3: PathOption,
) -> None:  # fmt: skip
    """What every method selects, and what that is worth."""
    from fute.evaluation.selection_step import SelectionSettings, select_prompts

    select_prompts(
        SelectionSettings.model_validate(parsed_json(settings)), files=files, similarities=similarities,
        performance=performance, selection=selection, table3=table3,
    )  # fmt: skip


@app.command()
def transfer_matrix(settings: Json, matrix: PathOption, output: PathOption) -> None:
    """Check a published transfer matrix and write it in the form of a run's own."""
    from fute.evaluation.transfer_matrix_step import MatrixSettings, import_matrix

    import_matrix(MatrixSettings.model_validate(parsed_json(settings)), matrix=matrix, output=output)


@app.command()
def collect_transfer(files: list[Path], settings: Json, output: PathOption) -> None:
    """Write the transfer matrix of a run's own fine-tunings."""
    from fute.evaluation.transfer_matrix_step import MatrixSettings, collect_matrix

    collect_matrix(MatrixSettings.model_validate(parsed_json(settings)), files=files, output=output)


@app.command()
def lm_evaluation(
    settings: Json, transfer: PathOption, similarities: PathOption, baselines: PathOption, targets: PathOption,
    direct: PathOption, table1: PathOption, table2: PathOption,
) -> None:  # fmt: skip
    """What every method says of the sources to transfer from, and what that is worth."""
    from fute.evaluation.lm_evaluation_step import TransferSettings, evaluate_transfer

    evaluate_transfer(
        TransferSettings.model_validate(parsed_json(settings)), transfer=transfer, similarities=similarities,
        baselines=baselines, targets=targets, direct=direct, table1=table1, table2=table2,
    )  # fmt: skip


@app.command()
def lm_geometry(files: list[Path], settings: Json, geometry: PathOption, coordinates: PathOption) -> None:
    """Where the embeddings of the fine-tuned language models lie."""
    from fute.evaluation.lm_geometry_step import LmGeometrySettings, locate_models

    parsed = LmGeometrySettings.model_validate(parsed_json(settings))
    locate_models(parsed, files=files, geometry=geometry, coordinates=coordinates)


@app.command()
def geometry(files: list[Path], settings: Json, geometry: PathOption, coordinates: PathOption) -> None:
    """Where the model task embeddings lie."""
    from fute.evaluation.geometry_step import GeometrySettings, locate

    parsed = GeometrySettings.model_validate(parsed_json(settings))
    locate(parsed, files=files, geometry=geometry, coordinates=coordinates)
