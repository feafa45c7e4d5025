"""Steps on black boxes: LLMs with their prompts, fine-tuned language models, Python functions, and transfer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fute.cli.options import Files, Json, PathOption, named, parsed_json

app = typer.Typer()


@app.command()
def label_batch(
    spec: Json, model: PathOption, lock: PathOption, output: PathOption,
    corpus: Annotated[list[str] | None, typer.Option(help="NAME=PATH, repeated; none for Self-Select alone")] = None,
) -> None:  # fmt: skip
    """Label all cells of a batch with one engine start."""
    from fute.llm.label_batch_step import BatchSpec
    from fute.llm.label_batch_step import label_batch as step

    parsed = BatchSpec.model_validate(parsed_json(spec))
    path = model if model.is_dir() else None
    step(parsed, model_path=path, model_lock=lock, corpora=named(corpus or []), output=output)


@app.command()
def extract_labels(
    settings: Json, corpus_id: Annotated[str, typer.Option()], batch: PathOption, corpus: PathOption, lock: PathOption,
    output: PathOption, offset_in: Annotated[Path | None, typer.Option()] = None,
    offset_out: Annotated[Path | None, typer.Option()] = None,
) -> None:  # fmt: skip
    """Take the labels of one (model, prompt, corpus) out of their batch."""
    from fute.llm.extract_labels_step import ExtractSettings
    from fute.llm.extract_labels_step import extract_labels as step

    parsed = ExtractSettings.model_validate(parsed_json(settings))
    step(
        parsed, corpus_id=corpus_id, batch=batch, corpus=corpus, model_lock=lock, output=output,
        offset_in=offset_in, offset_out=offset_out,
    )  # fmt: skip


@app.command()
def self_select(prompts: list[str], key: Annotated[str, typer.Option()], batch: PathOption, output: PathOption) -> None:
    """Take an LLM's own choice among the prompts of a category out of its batch."""
    from fute.llm.extract_labels_step import extract_selection

    extract_selection(key, prompts, batch=batch, output=output)


@app.command()
def finetune_model(
    spec: Json, model: PathOption, lock: PathOption, train: PathOption, test: PathOption, folder: PathOption
) -> None:
    """Fine-tune a language model on one dataset."""
    from fute.blackbox.finetune_model_step import finetune_model as step
    from fute.specs.finetuning import FinetuneSpec

    parsed = FinetuneSpec.model_validate(parsed_json(spec))
    step(parsed, model=model, lock=lock, train=train, test=test, folder=folder)


@app.command()
def label_language_model(
    settings: Json, folder: PathOption, lock: PathOption, corpus: PathOption, output: PathOption
) -> None:
    """Let a fine-tuned language model label U."""
    from fute.blackbox.finetune_model_step import label_unsup
    from fute.specs.finetuning import LabelSettings

    parsed = LabelSettings.model_validate(parsed_json(settings))
    label_unsup(parsed, folder=folder, lock=lock, corpus=corpus, output=output)


@app.command()
def label_plugin(
    settings: Json, corpus: PathOption, output: PathOption,
    train: Annotated[Path | None, typer.Option(help="rows of the dataset that the settings name")] = None,
) -> None:  # fmt: skip
    """Let a Python function label U."""
    from fute.blackbox.label_plugin_step import label_plugin as step
    from fute.config.plugins import PluginSettings

    step(PluginSettings.model_validate(parsed_json(settings)), corpus=corpus, train=train, output=output)


@app.command()
def transfer_batch(spec: Json, model: PathOption, lock: PathOption, file: Files, output: PathOption) -> None:
    """Fine-tune models of sources on targets, many in one process."""
    from fute.blackbox.transfer_batch_step import transfer_batch as step
    from fute.specs.transfer import TransferSpec

    parsed = TransferSpec.model_validate(parsed_json(spec))
    step(parsed, model=model, lock=lock, files=named(file), output=output)


@app.command()
def extract_transfer(batches: list[Path], settings: Json, file: Files, output: PathOption) -> None:
    """Take the scores of one (source, target) out of their batches."""
    from fute.blackbox.extract_transfer_step import extract_transfer as step
    from fute.specs.transfer import ExtractTransfer

    parsed = ExtractTransfer.model_validate(parsed_json(settings))
    step(parsed, batches=batches, files=named(file), output=output)
