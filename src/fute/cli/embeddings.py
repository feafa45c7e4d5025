"""Steps that make vectors: DTEs and MTEs, and a labelled dataset's on a black box's own architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fute.cli.options import Files, Json, PathOption, named, parsed_json

app = typer.Typer()


@app.command()
def prefix_start(recipe: Json, model: PathOption, lock: PathOption, output: PathOption) -> None:
    """Draw the prefix that every TuPaTE vector starts from."""
    from fute.config.recipes import TupateSettings
    from fute.embeddings.embed_batch_step import write_start

    write_start(TupateSettings.model_validate(parsed_json(recipe)), model=model, lock=lock, output=output)


@app.command()
def encode_states(
    settings: Json, model: PathOption, lock: PathOption, corpus: PathOption, output: PathOption,
    texts: Annotated[int | None, typer.Option(help="only the first so many")] = None,
) -> None:  # fmt: skip
    """Write the frozen encoder's states of a corpus, for all vectors that are learned on it."""
    from fute.config.surrogate import SurrogateSettings
    from fute.embeddings.encoder_states_step import encode_states as step

    parsed = SurrogateSettings.model_validate(parsed_json(settings))
    step(parsed, model=model, lock=lock, corpus=corpus, texts=texts, output=output)


@app.command()
def embed_batch(
    spec: Json,
    model: PathOption,
    lock: PathOption,
    file: Files,
    output: PathOption,
    start: Annotated[Path | None, typer.Option(help="TuPaTE's common start")] = None,
) -> None:
    """Learn all vectors of a batch from one load of the surrogate."""
    from fute.embeddings.embed_batch_step import embed_batch as step
    from fute.specs.embeddings import EmbeddingSpec

    parsed = EmbeddingSpec.model_validate(parsed_json(spec))
    step(parsed, model=model, lock=lock, start=start, files=named(file), output=output)


@app.command()
def extract_embedding(key: Annotated[str, typer.Option()], batch: PathOption, file: Files, output: PathOption) -> None:
    """Take one vector out of its batch."""
    from fute.embeddings.extract_embedding_step import extract_embedding as step

    step(key, batch=batch, files=named(file), output=output)


@app.command()
def embed_dataset(
    spec: Json, model: PathOption, lock: PathOption, train: PathOption,
    output: Annotated[list[str], typer.Option(help="METHOD=PATH, repeated")],
    finetuned: Annotated[Path | None, typer.Option(help="folder of the model fine-tuned on the dataset")] = None,
    finetuned_lock: Annotated[Path | None, typer.Option(help="its lock")] = None,
) -> None:  # fmt: skip
    """Make a labelled dataset's vectors on a black box's own architecture."""
    from fute.baselines.embed_dataset_step import embed_dataset as step
    from fute.specs.dataset_vectors import DatasetVectorSpec

    parsed = DatasetVectorSpec.model_validate(parsed_json(spec))
    step(
        parsed, model=model, lock=lock, train=train, outputs=named(output), finetuned=finetuned,
        finetuned_lock=finetuned_lock,
    )  # fmt: skip
