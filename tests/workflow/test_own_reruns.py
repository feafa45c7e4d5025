"""What reruns in a run that `fute new` made, after a row, a prompt or a model more: rows of docs/reruns.md, planned.

Nothing is computed: the run's files are made empty, with Snakemake's metadata, and every change is planned.
"""

from __future__ import annotations

import pytest
from support.checkouts import Checkout, copy_project
from support.planning import Plan
from support.rerun_table import reruns

from fute import paths
from fute.front.new import new_run
from fute.front.wanted import Wanted

pytestmark = pytest.mark.workflow

ROW = "one text more that nobody had said before,yes\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of the project with a table, and a second one to check on."""
    made = copy_project(tmp_path_factory.mktemp("own") / "project")
    for name, start in (("rows", 0), ("checked", 100)):
        lines = [f"the text of number {n},{['no', 'yes'][n % 2]}\n" for n in range(start, start + 40)]
        (made / f"{name}.csv").write_text("text,label\n" + "".join(lines))
    (made / "prompts.yaml").write_text("- template: 'Yes or no? {text}'\n- template: '{text} No or yes?'\n")
    return made


def finished(project: Checkout, name: str, targets: tuple[str, ...] = (), **wanted) -> Checkout:
    """The run of a name, all of whose files are there."""
    data = {"data": project / "rows.csv", "test": project / "checked.csv"}
    new_run(Wanted(project / name, **data | wanted))
    made = Checkout(project.folder, f"{name}/run.yaml")
    Plan(made.folder, ("--configfile", made.config, *targets)).finish()
    assert made.planned(*targets) == {}
    return made


def after(own: Checkout, path: str, more: str, *targets: str) -> dict[str, int]:
    """What is planned while a file has some text more at its end."""
    before = (own / path).read_text()
    (own / path).write_text(before + more)
    planned = own.planned(*targets)
    (own / path).write_text(before)
    return planned


def after_edits(own: Checkout, edits: dict[str, str], *targets: str) -> dict[str, int]:
    """What is planned while pieces of the run's settings are replaced."""
    for old, new in edits.items():
        own.edit(own.config, old, new)
    planned = own.planned(*targets)
    for old, new in edits.items():
        own.edit(own.config, new, old)
    return planned


def test_a_run_of_prompts_makes_again_what_depends_on_the_change(project):
    own = finished(project, "mine", prompts=project / "prompts.yaml", model="smollm2-135m")
    planned = after(own, "rows.csv", ROW)
    assert planned.keys() == reruns("a row more in the table of an own run of prompts")
    assert planned["dte"] == planned["embed_batch"] == 1
    planned = after(own, "checked.csv", ROW)
    assert planned.keys() == reruns("a row more in that run's table to check on") and planned["label_batch"] == 1
    planned = after(own, "prompts.yaml", "- template: 'Is it so? {text}'\n")
    assert planned.keys() == reruns("a prompt more in that run's file")
    one = ("label_batch", "extract_unsup_labels", "extract_test_labels", "embed_batch", "mte")
    assert [planned[name] for name in one] == [1] * 5
    planned = after_edits(own, {"models: [smollm2-135m]": "models: [smollm2-135m, gpt2]"})
    assert planned.keys() == reruns("an LLM more in that run") and planned["fetch_model"] == 1
    assert planned["extract_unsup_labels"] == planned["mte"] == 2, "those of the new LLM"
    assert own.planned() == {}


def test_a_run_of_models_makes_again_what_depends_on_the_change(project):
    own = finished(project, "start", (paths.PLANTED,), models=("minilm-l6", "bert-base"))
    planned = after(own, "rows.csv", ROW, paths.PLANTED)
    assert planned.keys() == reruns("a row more in the table of an own run of models")
    assert planned["finetune_model"] == planned["mte"] == 2 and planned["dte"] == 1
    planned = after(own, "checked.csv", ROW, paths.PLANTED)
    assert planned.keys() == reruns("a row more in that run's table to check on, whose texts are not learned from")
    more = {"models: [minilm-l6, bert-base]": "models: [minilm-l6, bert-base, gpt2]"}
    more["bert-base/start: score}"] = "bert-base/start: score, gpt2/start: score}"
    planned = after_edits(own, more, paths.PLANTED)
    assert planned.keys() == reruns("a model more in that run") and set(planned.values()) == {1}
    assert own.planned(paths.PLANTED) == {}
