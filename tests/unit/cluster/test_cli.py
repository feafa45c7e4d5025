"""Settings of a run from several files and the command line, merged as Snakemake merges them."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from fute.cluster.cli import _planned
from fute.config.sections import ConfigError


def test_the_plan_and_snakemake_get_the_same_settings(tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("taskemb: {mte: {batch_size: 16}}\ndata: {test_rows: 24}\n")
    files = [Path("config/paper.yaml"), overlay]
    plan, arguments = _planned(files, ["data={root: D}", "threads=2"])
    config = plan.config
    assert (config.data.source, config.data.test_rows, config.data.root, config.threads) == ("hub", 24, "D", 2)
    assert (config.taskemb.mte.batch_size, config.taskemb.mte.reduce) == (16, "rows")  # of both files
    assert arguments == ("--configfile", *map(str, files), "--config", "data={root: D}", "threads=2")


def test_a_value_without_a_key_is_refused():
    with pytest.raises(typer.BadParameter, match=r"--config threads: .*name=value"):
        _planned([Path("config/paper.yaml")], ["threads"])


def test_values_are_what_they_are_to_snakemake():
    """To Snakemake `null` is a word here, so the workflow would refuse this, too."""
    with pytest.raises(ConfigError, match="lm"):
        _planned([Path("config/paper.yaml")], ["lm=null"])


def test_a_file_that_holds_a_list_is_named(tmp_path):
    (tmp_path / "list.yaml").write_text("- threads: 2\n")
    with pytest.raises(ConfigError, match=r"list\.yaml: holds a list"):
        _planned([Path("config/paper.yaml"), tmp_path / "list.yaml"], [])


@pytest.mark.parametrize("run", ["paper", "paper-lm"])
def test_the_rehearsal_cuts_a_run_and_changes_none_of_its_targets(run):
    whole, _ = _planned([Path(f"config/{run}.yaml")], [])
    cut, _ = _planned([Path(f"config/{run}.yaml"), Path(f"tests/rehearsal/{run}.yaml")], [])
    assert cut.phases() == whole.phases()
    assert (cut.models, cut.data.datasets) == (whole.models, whole.data.datasets)
    assert cut.config.data.train_rows == 64 and whole.config.data.train_rows is None
