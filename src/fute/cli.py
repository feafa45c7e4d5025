"""The command `fute`: every step of the workflow as a subcommand, and a few commands for people.

Steps take their files as named flags and their settings as JSON, as the workflow passes them; each runs
without Snakemake. Heavy modules are imported by the step that needs them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fute import images
from fute.audit.cli import app as audit
from fute.cluster import storage
from fute.cluster.cli import app as cluster

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(audit, name="audit")
app.add_typer(cluster)
app.add_typer(images.app, name="images")

Json = Annotated[str, typer.Option(help="settings as JSON")]
PathOption = Annotated[Path, typer.Option()]
Files = Annotated[list[str], typer.Option(help="NAME=PATH, repeated")]


def _named(pairs: list[str]) -> dict[str, Path]:
    """NAME=PATH options as a mapping."""
    found = {}
    for pair in pairs:
        name, separator, path = pair.partition("=")
        if not separator or not name or not path:
            raise typer.BadParameter(f"{pair!r} is not NAME=PATH")
        found[name] = Path(path)
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"not JSON: {error}") from None


@app.command()
def fetch_model(model: str, entry: Json, folder: PathOption, lock: PathOption) -> None:
    """Bring a model's files to a folder and write their lock."""
    from fute.models import ModelEntry
    from fute.models import fetch_model as step

    step(model, ModelEntry.model_validate(_parsed(entry)), folder=folder, lock=lock)


@app.command()
def sample_unsup(settings: Json, source: Json, root: PathOption, rows: PathOption, counts: PathOption) -> None:
    """Draw the unlabelled texts U of one category."""
    from fute.data.prepare import UnsupStep, prepare_unsup

    parsed = UnsupStep.model_validate(_parsed(settings))
    prepare_unsup(parsed, source=_parsed(source), root=root, rows=rows, counts=counts)


@app.command()
def normalise_test(settings: Json, source: Json, root: PathOption, test: PathOption, lock: PathOption) -> None:
    """Write the evaluation rows of a dataset."""
    from fute.data.prepare import DatasetStep, prepare_test

    parsed = DatasetStep.model_validate(_parsed(settings))
    prepare_test(parsed, source=_parsed(source), root=root, test=test, lock=lock)


@app.command()
def normalise_train(
    settings: Json, source: Json, root: PathOption, lock: PathOption, train: PathOption, dev: PathOption,
    counts: PathOption, exclude: Annotated[list[Path], typer.Option(help="evaluation rows to keep out")],
) -> None:  # fmt: skip
    """Write the training rows of a dataset and those held out of them."""
    from fute.data.prepare import DatasetStep, prepare_train

    parsed = DatasetStep.model_validate(_parsed(settings))
    prepare_train(
        parsed,
        source=_parsed(source),
        root=root,
        lock=lock,
        exclude=exclude,
        train=train,
        dev=dev,
        counts=counts,
    )


@app.command()
def label_batch(
    spec: Json, model: PathOption, lock: PathOption, output: PathOption,
    corpus: Annotated[list[str] | None, typer.Option(help="NAME=PATH, repeated; none for Self-Select alone")] = None,
) -> None:  # fmt: skip
    """Label all cells of a batch with one engine start."""
    from fute.llm.labelling import BatchSpec
    from fute.llm.labelling import label_batch as step

    parsed = BatchSpec.model_validate(_parsed(spec))
    path = model if model.is_dir() else None
    step(parsed, model_path=path, model_lock=lock, corpora=_named(corpus or []), output=output)


@app.command()
def extract_labels(
    settings: Json, corpus_id: Annotated[str, typer.Option()], batch: PathOption, corpus: PathOption, lock: PathOption,
    output: PathOption, offset_in: Annotated[Path | None, typer.Option()] = None,
    offset_out: Annotated[Path | None, typer.Option()] = None,
) -> None:  # fmt: skip
    """Take the labels of one (model, prompt, corpus) out of their batch."""
    from fute.llm.extract import ExtractSettings
    from fute.llm.extract import extract_labels as step

    parsed = ExtractSettings.model_validate(_parsed(settings))
    step(
        parsed, corpus_id=corpus_id, batch=batch, corpus=corpus, model_lock=lock, output=output,
        offset_in=offset_in, offset_out=offset_out,
    )  # fmt: skip


@app.command()
def self_select(prompts: list[str], key: Annotated[str, typer.Option()], batch: PathOption, output: PathOption) -> None:
    """Take an LLM's own choice among the prompts of a category out of its batch."""
    from fute.llm.extract import extract_selection

    extract_selection(key, prompts, batch=batch, output=output)


@app.command()
def finetune_model(
    spec: Json, model: PathOption, lock: PathOption, train: PathOption, test: PathOption, folder: PathOption
) -> None:
    """Fine-tune a language model on one dataset."""
    from fute.blackbox.settings import FinetuneSpec
    from fute.blackbox.steps import finetune_model as step

    parsed = FinetuneSpec.model_validate(_parsed(spec))
    step(parsed, model=model, lock=lock, train=train, test=test, folder=folder)


@app.command()
def label_language_model(
    settings: Json, folder: PathOption, lock: PathOption, corpus: PathOption, output: PathOption
) -> None:
    """Let a fine-tuned language model label U."""
    from fute.blackbox.settings import LabelSettings
    from fute.blackbox.steps import label_unsup

    parsed = LabelSettings.model_validate(_parsed(settings))
    label_unsup(parsed, folder=folder, lock=lock, corpus=corpus, output=output)


@app.command()
def label_plugin(
    settings: Json, corpus: PathOption, output: PathOption,
    train: Annotated[Path | None, typer.Option(help="rows of the dataset that the settings name")] = None,
) -> None:  # fmt: skip
    """Let a Python function label U."""
    from fute.blackbox.plugin import label_plugin as step
    from fute.blackbox.settings import PluginSettings

    step(PluginSettings.model_validate(_parsed(settings)), corpus=corpus, train=train, output=output)


@app.command()
def transfer_batch(spec: Json, model: PathOption, lock: PathOption, file: Files, output: PathOption) -> None:
    """Fine-tune models of sources on targets, many in one process."""
    from fute.blackbox.settings import TransferSpec
    from fute.blackbox.transfer import transfer_batch as step

    parsed = TransferSpec.model_validate(_parsed(spec))
    step(parsed, model=model, lock=lock, files=_named(file), output=output)


@app.command()
def extract_transfer(batches: list[Path], settings: Json, file: Files, output: PathOption) -> None:
    """Take the scores of one (source, target) out of their batches."""
    from fute.blackbox.scores import extract_transfer as step
    from fute.blackbox.settings import ExtractTransfer

    parsed = ExtractTransfer.model_validate(_parsed(settings))
    step(parsed, batches=batches, files=_named(file), output=output)


@app.command()
def prefix_start(recipe: Json, model: PathOption, lock: PathOption, output: PathOption) -> None:
    """Draw the prefix that every TuPaTE vector starts from."""
    from fute.embed import write_start
    from fute.recipes import TupateSettings

    write_start(TupateSettings.model_validate(_parsed(recipe)), model=model, lock=lock, output=output)


@app.command()
def encode_states(
    settings: Json, model: PathOption, lock: PathOption, corpus: PathOption, output: PathOption,
    texts: Annotated[int | None, typer.Option(help="only the first so many")] = None,
) -> None:  # fmt: skip
    """Write the frozen encoder's states of a corpus, for all vectors that are learned on it."""
    from fute.encode import encode_states as step
    from fute.recipes import SurrogateSettings

    parsed = SurrogateSettings.model_validate(_parsed(settings))
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
    from fute.embed import embed_batch as step
    from fute.recipes import EmbeddingSpec

    parsed = EmbeddingSpec.model_validate(_parsed(spec))
    step(parsed, model=model, lock=lock, start=start, files=_named(file), output=output)


@app.command()
def extract_embedding(key: Annotated[str, typer.Option()], batch: PathOption, file: Files, output: PathOption) -> None:
    """Take one vector out of its batch."""
    from fute.embed_extract import extract_embedding as step

    step(key, batch=batch, files=_named(file), output=output)


@app.command()
def baseline_scores(
    labels: list[Path],
    ranking: PathOption,
    output: PathOption,
    zps_flip: Annotated[bool, typer.Option("--zps-flip", help="the authors' slip on SA")] = False,
    list_as_scores: Annotated[bool, typer.Option("--list-as-scores", help="their slip with Self-Select")] = False,
) -> None:
    """Score the prompts of one LLM and dataset by every baseline."""
    from fute.baselines.steps import baseline_scores as step

    step(labels, ranking, output, zps_flip=zps_flip, list_as_scores=list_as_scores)


@app.command()
def similarities(files: list[Path], settings: Json, similarities: PathOption, controls: PathOption) -> None:
    """Compare model task embeddings with dataset task embeddings, and with their controls."""
    from fute.evaluation.similarities import SimilaritySettings, compare

    parsed = SimilaritySettings.model_validate(_parsed(settings))
    compare(parsed, files=files, similarities=similarities, controls=controls)


@app.command()
def lm_similarities(files: list[Path], settings: Json, output: PathOption) -> None:
    """Compare embeddings of fine-tuned language models with dataset task embeddings."""
    from fute.evaluation.lm_similarities import LmSimilaritySettings, compare_models

    compare_models(LmSimilaritySettings.model_validate(_parsed(settings)), files=files, output=output)


@app.command()
def embed_dataset(
    spec: Json, model: PathOption, lock: PathOption, train: PathOption,
    output: Annotated[list[str], typer.Option(help="METHOD=PATH, repeated")],
    finetuned: Annotated[Path | None, typer.Option(help="folder of the model fine-tuned on the dataset")] = None,
    finetuned_lock: Annotated[Path | None, typer.Option(help="its lock")] = None,
) -> None:  # fmt: skip
    """Make a labelled dataset's vectors on a black box's own architecture."""
    from fute.baselines.settings import DatasetVectorSpec
    from fute.baselines.vectors import embed_dataset as step

    parsed = DatasetVectorSpec.model_validate(_parsed(spec))
    step(
        parsed, model=model, lock=lock, train=train, outputs=_named(output), finetuned=finetuned,
        finetuned_lock=finetuned_lock,
    )  # fmt: skip


@app.command()
def lm_baselines(
    settings: Json, output: PathOption,
    curve: Annotated[list[str] | None, typer.Option(help="DATASET=PATH, for CurveGrad")] = None,
    counts: Annotated[list[str] | None, typer.Option(help="DATASET=PATH, for DataSize if no sizes are given")] = None,
    vector: Annotated[list[str] | None, typer.Option(help="METHOD:DATASET=PATH, for TextEmb, TaskEmb, TuPaTE")] = None,
) -> None:  # fmt: skip
    """Score sources by the size of their data, their loss curves, and the vectors of datasets."""
    from fute.baselines.language_models import LmBaselineSettings
    from fute.baselines.language_models import lm_baselines as step

    parsed = LmBaselineSettings.model_validate(_parsed(settings))
    files = {"curves": _named(curve or []), "counts": _named(counts or []), "vectors": _named(vector or [])}
    step(parsed, **files, output=output)


@app.command()
def selection(
    files: list[Path], settings: Json, similarities: PathOption, performance: PathOption, selection: PathOption,
    table3: PathOption,
) -> None:  # fmt: skip
    """What every method selects, and what that is worth."""
    from fute.evaluation.steps import SelectionSettings, select_prompts

    select_prompts(
        SelectionSettings.model_validate(_parsed(settings)), files=files, similarities=similarities,
        performance=performance, selection=selection, table3=table3,
    )  # fmt: skip


@app.command()
def transfer_matrix(settings: Json, matrix: PathOption, output: PathOption) -> None:
    """Check a published transfer matrix and write it in the form of a run's own."""
    from fute.evaluation.transfer_matrix import MatrixSettings, import_matrix

    import_matrix(MatrixSettings.model_validate(_parsed(settings)), matrix=matrix, output=output)


@app.command()
def collect_transfer(files: list[Path], settings: Json, output: PathOption) -> None:
    """Write the transfer matrix of a run's own fine-tunings."""
    from fute.evaluation.transfer_matrix import MatrixSettings, collect_matrix

    collect_matrix(MatrixSettings.model_validate(_parsed(settings)), files=files, output=output)


@app.command()
def lm_evaluation(
    settings: Json, transfer: PathOption, similarities: PathOption, baselines: PathOption, targets: PathOption,
    direct: PathOption, table1: PathOption, table2: PathOption,
) -> None:  # fmt: skip
    """What every method says of the sources to transfer from, and what that is worth."""
    from fute.evaluation.transfer_step import TransferSettings, evaluate_transfer

    evaluate_transfer(
        TransferSettings.model_validate(_parsed(settings)), transfer=transfer, similarities=similarities,
        baselines=baselines, targets=targets, direct=direct, table1=table1, table2=table2,
    )  # fmt: skip


@app.command()
def lm_geometry(files: list[Path], settings: Json, geometry: PathOption, coordinates: PathOption) -> None:
    """Where the embeddings of the fine-tuned language models lie."""
    from fute.evaluation.lm_geometry_step import LmGeometrySettings, locate_models

    parsed = LmGeometrySettings.model_validate(_parsed(settings))
    locate_models(parsed, files=files, geometry=geometry, coordinates=coordinates)


@app.command()
def geometry(files: list[Path], settings: Json, geometry: PathOption, coordinates: PathOption) -> None:
    """Where the model task embeddings lie."""
    from fute.evaluation.geometry_step import GeometrySettings, locate

    parsed = GeometrySettings.model_validate(_parsed(settings))
    locate(parsed, files=files, geometry=geometry, coordinates=coordinates)


@app.command()
def table3(settings: Json, table3: PathOption, csv: PathOption, markdown: PathOption, latex: PathOption) -> None:
    """Write Table 3 in the paper's layout."""
    from fute.paper.steps import TableSettings, write_table3

    parsed = TableSettings.model_validate(_parsed(settings))
    write_table3(parsed, table3=table3, csv=csv, markdown=markdown, latex=latex)


@app.command()
def transfer_table(
    settings: Json, cells: PathOption, targets: PathOption, direct: PathOption, printed: PathOption, csv: PathOption,
    markdown: PathOption, latex: PathOption,
) -> None:  # fmt: skip
    """Write Table 1 or 2 in the paper's layout, ours above the paper's."""
    from fute.paper.transfer_steps import TransferTableSettings, write_transfer_table

    write_transfer_table(
        TransferTableSettings.model_validate(_parsed(settings)), cells=cells, targets=targets, direct=direct,
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
        EfficiencySettings.model_validate(_parsed(settings)), files=files, benchmarks=benchmarks,
        embeddings=embeddings, calls=calls, costs=costs, markdown=markdown,
    )  # fmt: skip


@app.command()
def figure(settings: Json, coordinates: PathOption, geometry: PathOption, base: PathOption) -> None:
    """Draw Figure 3, A1, 4 or A2."""
    from fute.paper.steps import FigureSettings, write_figure

    parsed = FigureSettings.model_validate(_parsed(settings))
    write_figure(parsed, coordinates=coordinates, geometry=geometry, base=base)


@app.command()
def report(
    inputs: list[Path], settings: Json, evaluation: PathOption, printed: PathOption, benchmarks: PathOption,
    output: PathOption,
) -> None:  # fmt: skip
    """Write the report of a run."""
    from fute.paper.report_step import ReportSettings, write_report

    parsed = ReportSettings.model_validate(_parsed(settings))
    write_report(parsed, evaluation=evaluation, printed=printed, benchmarks=benchmarks, inputs=inputs, output=output)


@app.command()
def embed(
    pairs: Path,
    output: PathOption,
    config: Annotated[Path, typer.Option(help="whose surrogate and recipe are used")] = Path("config.yaml"),
    method: Annotated[str, typer.Option(help="taskemb, tupate, tupate-lora, tupate-bias or textemb")] = "tupate",
    kind: Annotated[str, typer.Option(help="dte: a labelled dataset; mte: texts and a model's outputs")] = "dte",
    model: Annotated[Path | None, typer.Option(help="the surrogate's folder; default: where the run keeps it")] = None,
    dev: Annotated[Path | None, typer.Option(help="held-out pairs, for recipes that stop early")] = None,
    classes: Annotated[str, typer.Option(help="heads form: all class names in one order, by commas")] = "",
) -> None:
    """Learn the task embedding of your own (x, y) pairs, a JSON object with x and y a line."""
    from fute.config import load_run
    from fute.recipes import METHODS

    if method not in METHODS or kind not in ("dte", "mte"):
        raise typer.BadParameter(f"--method is one of {', '.join(METHODS)}, --kind one of dte, mte")
    run = load_run(config)
    from fute.embed_file import embed_file

    named = tuple(classes.split(",")) if classes else ()
    embed_file(run, pairs, output, method=method, kind=kind, model=model, dev=dev, classes=named)


@app.command()
def compare(first: Path, others: list[Path]) -> None:
    """Print the cosine of one task embedding with others, most similar first."""
    from fute.compare import compare_files

    compare_files(first, others)


@app.command()
def tidy(results: Path) -> None:
    """Remove what finished batches no longer need to resume."""
    from fute.batching import tidy as step

    step(results)


@app.command()
def show(results: Path = Path("results")) -> None:
    """Print Table 3 of a finished run, and where its files are."""
    from fute.paper.show import show as step

    step(results)


@app.command()
def rank(dataset: str, results: Path = Path("results"), method: Annotated[str, typer.Option()] = "tupate") -> None:
    """Rank the prompts of a finished run for one of its target datasets, with margins."""
    from fute.paper.show import rank as step

    step(dataset, results, method)


def main() -> None:
    """Run a command. An error of this package's own kinds, or of a disk, is one line for people; others keep a trace.

    It ends with 1, or with the error's own `exit_code`.
    """
    try:
        app()
    except Exception as error:
        what = str(error) if type(error).__module__.startswith("fute.") else storage.advice(error)
        if what is None:
            raise
        print(f"fute: {what}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
