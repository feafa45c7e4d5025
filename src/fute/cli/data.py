"""Steps on models' files, U and labelled datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fute.cli.options import Json, PathOption, parsed_json

app = typer.Typer()


@app.command()
def fetch_model(model: str, entry: Json, folder: PathOption, lock: PathOption) -> None:
    """Bring a model's files to a folder and write their lock."""
    from fute.config.models import ModelEntry
    from fute.data.fetch_model_step import fetch_model as step

    step(model, ModelEntry.model_validate(parsed_json(entry)), folder=folder, lock=lock)


@app.command()
def sample_unsup(settings: Json, source: Json, root: PathOption, rows: PathOption, counts: PathOption) -> None:
    """Draw the unlabelled texts U of one category."""
    from fute.data.data_step import UnsupStep, prepare_unsup

    parsed = UnsupStep.model_validate(parsed_json(settings))
    prepare_unsup(parsed, source=parsed_json(source), root=root, rows=rows, counts=counts)


@app.command()
def normalise_test(settings: Json, source: Json, root: PathOption, test: PathOption, lock: PathOption) -> None:
    """Write the evaluation rows of a dataset."""
    from fute.data.data_step import DatasetStep, prepare_test

    parsed = DatasetStep.model_validate(parsed_json(settings))
    prepare_test(parsed, source=parsed_json(source), root=root, test=test, lock=lock)


@app.command()
def normalise_train(
    settings: Json, source: Json, root: PathOption, lock: PathOption, train: PathOption, dev: PathOption,
    counts: PathOption, exclude: Annotated[list[Path], typer.Option(help="evaluation rows to keep out")],
) -> None:  # fmt: skip
    """Write the training rows of a dataset and those held out of them."""
    from fute.data.data_step import DatasetStep, prepare_train

    parsed = DatasetStep.model_validate(parsed_json(settings))
    prepare_train(
        parsed,
        source=parsed_json(source),
        root=root,
        lock=lock,
        exclude=exclude,
        train=train,
        dev=dev,
        counts=counts,
    )
