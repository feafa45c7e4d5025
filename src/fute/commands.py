"""Commands for people: embed own pairs, read a finished run; and the commands of audit, cluster and images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fute.audit.cli import app as audit
from fute.cluster.cli import app as cluster
from fute.config.methods import MethodId
from fute.images.cli import app as images
from fute.steps import STEPS, purpose

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="FUTE: choose a prompt or a model by the cosine of task embeddings.",
    epilog="Each step of the workflow is a command, too: `fute steps` lists them, `fute STEP --help` explains one.",
)
app.add_typer(audit, name="audit")
app.add_typer(cluster)
app.add_typer(images, name="images")


def _names(option: str) -> tuple[str, ...]:
    """The names in an option, between commas."""
    return tuple(name.strip() for name in option.split(",") if name.strip())


@app.command()
def new(
    folder: Annotated[Path, typer.Argument(help="folder to make; its name is the run's")],
    data: Annotated[Path, typer.Option(help="table, saved dataset, or owner/name of the hub")],
    test: Annotated[
        Path | None,
        typer.Option(help="table or split to check on; default: a split of a saved dataset, else a fifth of --data"),
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="column of texts; twice for pairs")] = None,
    label: Annotated[str | None, typer.Option(help="column of labels")] = None,
    prompts: Annotated[Path | None, typer.Option(help="YAML list of prompts, with --model")] = None,
    model: Annotated[str | None, typer.Option(help="an id of config/models.yaml, a folder, or owner/name")] = None,
    models: Annotated[str, typer.Option(help="models to start from, with commas, in place of prompts")] = "",
    unlabelled: Annotated[Path | None, typer.Option(help="your own unlabelled texts (U): a table, or .txt")] = None,
    server: Annotated[str | None, typer.Option(help="OpenAI-compatible address that serves --model")] = None,
    subset: Annotated[str | None, typer.Option(help="configuration of a dataset of the hub")] = None,
    score: Annotated[
        Literal["first_token", "sequence"], typer.Option(help="sequence: whole words, for classes that begin alike")
    ] = "first_token",
) -> None:
    """Make the folder of a run of your own: look at the data, write checked settings, say what it will cost."""
    from fute.front.new import new_run
    from fute.front.wanted import Wanted

    new_run(
        Wanted(
            folder=folder, data=data, test=test, texts=tuple(text or ()), label=label, prompts=prompts, model=model,
            models=_names(models), unlabelled=unlabelled, server=server, score=score, subset=subset,
        )
    )  # fmt: skip


@app.command(context_settings={"allow_extra_args": True, "allow_interspersed_args": False})
def run(context: typer.Context, name: Annotated[str, typer.Argument(help="folder that `fute new` made")]) -> None:
    """Run Snakemake with the settings of a run; further arguments are Snakemake's."""
    from fute.front.run import run_snakemake

    run_snakemake(name, context.args)


@app.command()
def rank(
    name: Annotated[str, typer.Argument(help="folder of a run that `fute new` made, or a dataset of a finished run")],
    results: Annotated[Path | None, typer.Option(help="folder of results; default: that of the run")] = None,
    method: Annotated[
        str | None, typer.Option(help="order by this method alone, with its further similarities")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV, one row per candidate")] = False,
) -> None:
    """Order the prompts or models of a finished run, say what the order rests on, and what to do."""
    if as_json and as_csv:
        raise typer.BadParameter("give --json or --csv, not both")
    from fute.front.rank import rank_run

    rank_run(name, results, "json" if as_json else "csv" if as_csv else "table", method)


@app.command()
def view(
    name: Annotated[
        str | None,
        typer.Argument(help="folder of a run that `fute new` made, or a dataset; default: all datasets of --results"),
    ] = None,
    results: Annotated[Path | None, typer.Option(help="folder of results; default: that of the run")] = None,
    output: Annotated[Path | None, typer.Option(help="page to write; default: view.html in the run's folder")] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="do not open the page in the browser")] = False,
) -> None:
    """Write the page of a finished run, one file with ranking, map and labels, and open it in the browser."""
    from fute.front.view import view_run

    view_run(name, results, output, not no_open)


@app.command()
def show(results: Annotated[Path, typer.Option(help="folder of the run's results")] = Path("results")) -> None:
    """Print the tables of a finished run, and the paths of its files."""
    from fute.paper import terminal

    terminal.show(results)


@app.command()
def embed(
    pairs: Annotated[Path, typer.Argument(help="JSON lines, each an object with x and y")],
    output: Annotated[Path, typer.Option(help="vector to write, such as mine.safetensors")],
    config: Annotated[Path, typer.Option(help="settings with the surrogate and the recipe")] = Path("config.yaml"),
    method: Annotated[MethodId | None, typer.Option(help="default: the first of the settings")] = None,
    kind: Annotated[
        Literal["dte", "mte"], typer.Option(help="dte: a labelled dataset; mte: texts and a model's outputs")
    ] = "dte",
    model: Annotated[Path | None, typer.Option(help="folder of the surrogate, or LabelCov's encoder")] = None,
    dev: Annotated[Path | None, typer.Option(help="held-out pairs, for recipes that stop early")] = None,
    classes: Annotated[str, typer.Option(help="heads, LabelCov: all class names in order, with commas")] = "",
) -> None:
    """Learn the task embedding of your own (x, y) pairs; the file has one JSON object with x and y per line."""
    from fute.config.run import load_run

    run = load_run(config)
    from fute.embeddings.embed_file import embed_file

    method = method or run.config.methods[0]
    embed_file(run, pairs, output, method=method, kind=kind, model=model, dev=dev, classes=_names(classes))


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="vector that the others are compared with, such as a dataset's")],
    others: Annotated[list[Path], typer.Argument(help="vectors to put in order")],
) -> None:
    """Print the cosine of one task embedding with others, most similar first."""
    from fute.embeddings.compare_files import compare_files

    compare_files(first, others)


@app.command()
def tidy(
    results: Annotated[Path, typer.Argument(help="folder of results", exists=True, file_okay=False)],
) -> None:
    """Remove what finished batches no longer need to resume, and what killed steps left of files that are there."""
    from fute import batching

    batching.tidy(results)


@app.command()
def steps() -> None:
    """List the steps of the workflow."""
    for step in STEPS:
        print(f"{step:22}{purpose(step)}")
