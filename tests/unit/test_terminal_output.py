"""What the terminal shows of a run: the logger plug-in, given records as Snakemake sends them."""

from __future__ import annotations

import copy
import logging
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.exceptions import LockException
from snakemake.logging import DefaultFormatter
from snakemake.logging import logger as snakemake_logger
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.tests import MockOutputSettings, TestLogHandlerBase
from support.rule_files import rules

import snakemake_logger_plugin_fute as plugin

ROOT = Path(__file__).resolve().parents[2]


class TestInterface(TestLogHandlerBase):
    """Snakemake's own tests of a plug-in."""

    __test__ = True

    def get_log_handler_cls(self):
        return plugin.LogHandler

    def get_log_handler_settings(self):
        return None


class Run:
    """A run that says to a handler what Snakemake would; `shown` is what the terminal then has."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], **settings: object) -> None:
        self.folder, self.capsys, self.now = folder, capsys, 1000.0
        common = MockOutputSettings()
        common.printshellcmds = False
        for name, value in settings.items():
            setattr(common, name, value)
        self.handler = plugin.LogHandler(common, None)
        self.handler.began = self.now
        rules = folder / "rules"
        rules.mkdir()
        (rules / "data.smk").write_text("rule rows:\n    output: 'x'\n")
        (rules / "black_boxes.smk").write_text("if X:\n\n    rule label:\n        output: 'y'\n")
        self.say(None, LogEvent.WORKFLOW_STARTED, basedir=str(folder))

    def say(self, text: str | None, event: LogEvent | None = None, level: int = logging.INFO, **fields: object) -> None:
        record = logging.makeLogRecord(
            {"msg": text, "levelno": level, "levelname": logging.getLevelName(level), "created": self.now, **fields}
        )
        if event:
            record.event = event
        assert all(each(record) for each in snakemake_logger.filters)
        self.file_record = record
        # the queue before a plug-in's handler copies records and makes text of their messages
        queued = copy.copy(record)
        queued.msg = record.getMessage()
        self.handler.emit(queued)

    def plan(self, **jobs: int) -> None:
        self.say("Job stats:\n", LogEvent.RUN_INFO, stats={**jobs, "all": 1, "total": sum(jobs.values()) + 1})

    def start(self, job: int, rule: str = "rows", message: str | None = "rows of x", **fields: object) -> None:
        defaults = {
            "input": [], "output": ["x"], "log": [], "benchmark": None, "wildcards": {"name": "x"}, "resources": {},
            "reason": "it is missing", "priority": 0, "threads": 1, "local": False, "indent": False,
            "is_checkpoint": False, "shellcmd": "make x",
        }  # fmt: skip
        self.say(
            f"Rule: {rule}, Jobid: {job}", LogEvent.JOB_INFO, jobid=job, rule_name=rule, rule_msg=message,
            **defaults | fields,
        )  # fmt: skip

    def finish(self, job: int, seconds: float = 1.0) -> None:
        self.now += seconds
        self.say(f"Finished jobid: {job}", LogEvent.JOB_FINISHED, job_id=job)
        self.say(None, LogEvent.PROGRESS, done=1, total=9)

    def fail(self, job: int, seconds: float = 1.0, ended: str = "returned non-zero exit status 3.", **fields) -> None:
        self.now += seconds
        command = fields.get("shellcmd", "make x")
        text = f"RuleException:\nCalledProcessError in file \"a.smk\", line 3:\nCommand 'set -e; {command}' {ended}"
        self.say(text, LogEvent.ERROR, logging.ERROR, exception="RuleException")
        self.job_error(job, **fields)

    def job_error(self, job: int, **fields: object) -> None:
        defaults = {"rule_name": "rows", "rule_msg": None, "log": [], "shellcmd": "make x", "aux": {}, "indent": False}
        self.say("Error in rule", LogEvent.JOB_ERROR, logging.ERROR, jobid=job, **defaults | fields)

    def end(self, *, failed: bool = False) -> None:
        if failed:
            self.say("Exiting because a job execution failed. Look above for error messages", level=logging.ERROR)
        self.say("Complete log(s): /somewhere/1.snakemake.log")
        self.say("Elapsed time: 0:00:05.1")
        if failed:
            self.say("WorkflowError:\nAt least one job did not complete successfully.", LogEvent.ERROR, logging.ERROR)

    @property
    def shown(self) -> list[str]:
        return self.capsys.readouterr().err.splitlines()


@pytest.fixture
def run(tmp_path, capsys) -> Run:
    return Run(tmp_path, capsys)


def test_a_run_is_a_line_for_the_plan_for_each_step_and_for_the_end(run):
    for noise in (
        "Building DAG of jobs...",
        "Using shell: /bin/bash",
        "Select jobs to execute...",
        "Execute 2 jobs...",
        "Handing over execution to foreign system...",
    ):
        run.say(noise)
    run.say("Provided cores: 2", LogEvent.RESOURCES_INFO, cores=2)
    run.plan(label=1, rows=9)
    run.start(1)
    run.start(2, "label", "labels of y")
    run.finish(1, 12.44)
    run.finish(2, 200)
    run.start(0, "all", None)
    run.finish(0)
    run.end()
    plan, rows, label, end = run.shown
    assert plan == "10 steps to run: black boxes 1, data 9"
    assert rows == "[ 1/10]      12.4 s  rows of x"
    assert label == "[ 2/10]  3 min 32 s  labels of y"
    assert end.startswith("10 steps done in 3 min 33 s. Snakemake's log: ") and end.endswith("1.snakemake.log")


def test_what_a_file_of_others_says_is_no_order_to_the_terminal(run):
    run.say("run.yaml: x\x1b[2J\x1b]0;title\x07: unknown key", level=logging.ERROR)
    (run.folder / "x.log").write_text("step: \x1b[31mred\x1b[0m \x1b[1A\n")
    run.plan(rows=1)
    run.start(1)
    run.fail(1, log=[str(run.folder / "x.log")])
    said = run.shown
    assert said[0] == "run.yaml: x?[2J?]0;title?: unknown key"
    assert "    | step: \x1b[31mred\x1b[0m ?[1A" in said


def test_a_rule_without_a_message_is_named_with_its_wildcards(run):
    run.plan(rows=1)
    run.start(1, message=None)
    run.finish(1)
    assert run.shown[-1].endswith("  rows x")


def test_a_failed_step_is_told_once_with_the_end_of_its_log(run):
    log = run.folder / "x.log"
    log.write_text("".join(f"line {n}\n" for n in range(50)))
    run.plan(rows=3)
    run.start(1, log=[str(log)])
    run.start(2, message="rows of y", shellcmd="make y")
    run.fail(1, 5, log=[str(log)])
    run.finish(2)
    run.end(failed=True)
    _, failed, where, *lines, _, end, step, advice = run.shown
    assert failed == "FAILED after 5.0 s:  rows of x: exit status 3"
    assert where == f"    {log}, the last 20 of 50 lines:"
    assert lines == [f"    | line {n}" for n in range(30, 50)]
    assert end.startswith("1 step failed, 1 of 3 steps done in 6.0 s.")
    assert step == f"    rows of x: {log}"  # other lines came between
    assert "run the same command again" in advice and "finished work is kept" in advice


@pytest.mark.parametrize("one", [True, False])
def test_what_the_terminal_has_already_is_not_repeated(run, monkeypatch, one):
    monkeypatch.setattr(plugin, "one_screen", lambda: one)
    log = run.folder / "x.log"
    log.write_text("its own words\n")
    command = f"make x > >(exec tee {log}) 2>&1"
    run.plan(rows=1)
    run.start(1, log=[str(log)], shellcmd=command)
    run.fail(1, log=[str(log)], shellcmd=command)
    shown = run.shown
    assert (f"    what it said is above and in {log}" in shown) is one
    assert ("    | its own words" in shown) is not one


def test_on_a_cluster_the_log_is_shown_and_once(run, monkeypatch):
    monkeypatch.setattr(plugin, "one_screen", lambda: True)
    own, sent = run.folder / "x.log", run.folder / "slurm.log"
    for path in (own, sent):
        path.write_text("its own words\n")
    run.say("Provided remote nodes: 100", LogEvent.RESOURCES_INFO, nodes=100)
    run.plan(rows=1)
    run.start(1, log=[str(own)], shellcmd=f"make x > >(exec tee {own}) 2>&1")
    run.say("Job 1 has been submitted with SLURM jobid 77 (log: slurm.log).")
    run.job_error(1, rule_msg="SLURM-job '77' failed", log=[str(own), str(sent)])
    _, submitted, failed, where, *lines = run.shown
    assert submitted == "sent: rows of x has been submitted with SLURM jobid 77 (log: slurm.log)."
    assert failed.endswith("rows of x: SLURM-job '77' failed")
    assert where == f"    {own}:" and lines == ["    | its own words"]


def test_a_cluster_job_of_several_steps_fails_as_one(run):
    sent = run.folder / "slurm.log"
    sent.write_text("no room\n")
    run.plan(rows=8)
    run.say("Group job", LogEvent.GROUP_INFO, group_id="g", jobs=[object()] * 7)
    for job in range(7):
        run.start(job, message=f"rows {job}", indent=True)
    jobs = [{"jobid": job} for job in range(7)]
    run.say("Error in group", LogEvent.GROUP_ERROR, logging.ERROR, aux_logs=[str(sent)], job_error_info=jobs)
    for job in range(7):
        run.job_error(job, indent=True)
    run.say("Trying to restart job b81544a4-6c7c-523c-b54b-3f4d62d4a8d0.")
    run.say("Job b81544a4-6c7c-523c-b54b-3f4d62d4a8d0 has been submitted with SLURM jobid 9 (log: slurm.log).")
    _, failed, where, line, again, sent_again = run.shown
    assert again == "trying again:  that job"
    assert sent_again == "sent: a job of several steps has been submitted with SLURM jobid 9 (log: slurm.log)."
    assert failed == "FAILED: a job of 7 steps:  rows 0; rows 1; rows 2; rows 3; rows 4 and 2 more"
    assert where == f"    {sent}:" and line == "    | no room"
    run.end(failed=True)
    assert run.shown[0].startswith("7 steps failed, 0 of 8 steps done")


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ("died with <Signals.SIGKILL: 9>.", "rows of x: killed; where nobody did that, the memory was not enough"),
        ("returned non-zero exit status 137.", "rows of x: killed; where nobody did that, the memory was not enough"),
        ("died with <Signals.SIGTERM: 15>.", "rows of x: stopped by SIGTERM"),
        ("returned non-zero exit status 1.", "rows of x: exit status 1"),
    ],
)
def test_how_a_step_ended(run, ended, said):
    run.plan(rows=1)
    run.start(1)
    run.fail(1, ended=ended)
    assert run.shown[1].endswith(said)


def test_two_failures_at_once_are_told_apart(run):
    run.plan(rows=2)
    for job in (1, 2):
        run.start(job, message=f"rows {job}", shellcmd=f"make {job}")
    for job in (1, 2):
        text = f"CalledProcessError:\nCommand 'set -e; make {job}' returned non-zero exit status {job}."
        run.say(text, LogEvent.ERROR, logging.ERROR)
    for job in (2, 1):
        run.job_error(job, shellcmd=f"make {job}")
    failed = [line for line in run.shown if line.startswith("FAILED")]
    assert [line.split(":  ")[1] for line in failed] == ["rows 2: exit status 2", "rows 1: exit status 1"]


def test_a_step_that_is_tried_again_counts_once(run):
    run.plan(rows=1)
    run.start(1)
    run.fail(1)
    run.say("Trying to restart job 1.")
    run.start(1)
    run.finish(1)
    run.end()
    shown = run.shown
    assert "trying again:  rows of x" in shown
    assert shown[-2].startswith("[1/1]") and shown[-1].startswith("1 step done")


def test_an_interrupted_run_says_how_to_go_on(run):
    run.plan(rows=2)
    run.start(1)
    run.finish(1)
    run.start(2)
    run.fail(2, ended="died with <Signals.SIGINT: 2>.")
    run.say("Terminating processes on user request, this might take some time.")
    run.end(failed=True)
    _, _, stopped, _, end, advice = run.shown
    assert stopped == "stopped:  rows of x"
    assert end.startswith("Stopped: 1 of 2 steps done") and "go on" in advice


def test_a_run_that_was_asked_to_stop_does_not_claim_to_be_done(run):
    """SIGTERM to Snakemake, as when the time of a controller's own job is over: no step fails, and none is begun."""
    run.plan(rows=3)
    run.start(1)
    run.start(2)
    for job in (1, 2):
        run.say("Will exit after finishing currently running jobs (scheduler).")
        run.finish(job)
    run.say("Will exit after finishing currently running jobs (scheduler).")
    run.say("Shutting down, this might take some time.")
    run.say("Complete log(s): /somewhere/1.snakemake.log")
    run.say("Elapsed time: 0:00:05.1")
    run.say("WorkflowError:\nAt least one job did not complete successfully.", LogEvent.ERROR, logging.ERROR)
    _, asked, _, _, end, advice = run.shown
    assert asked.startswith("Asked to stop:")
    assert end.startswith("Stopped: 2 of 3 steps done") and "go on" in advice


@pytest.mark.parametrize(
    ("text", "level", "event"),
    [
        ("a warning", logging.WARNING, None),
        ("MissingOutputException in rule x:\nJob 3 completed successfully, but", logging.ERROR, LogEvent.ERROR),
        ("Nothing to be done (all requested files are present and up to date).", logging.INFO, None),
        ("what no version of Snakemake says yet", logging.INFO, None),
    ],
)
def test_anything_else_is_shown(run, text, level, event):
    run.say(text, event, level)
    assert run.shown == text.splitlines()


def test_the_lock_of_a_killed_run_is_removed_with_its_jobs(run):
    theirs = str(LockException())
    assert plugin.UNLOCK in theirs
    run.say(theirs, LogEvent.ERROR, logging.ERROR)
    shown = " ".join(run.shown)
    assert plugin.UNLOCK not in shown and str(Path.cwd()) in shown
    assert "fute cluster clean, with the same --configfile, cancels them and removes the lock" in shown


@pytest.mark.parametrize(
    ("quiet", "lines"), [({"RULES"}, 3), ({"PROGRESS"}, 1), ({"RULES", "PROGRESS"}, 1), ({"ALL"}, 0)]
)
def test_quiet(tmp_path, capsys, quiet, lines):
    from snakemake.settings.enums import Quietness

    run = Run(tmp_path, capsys, quiet={Quietness[name] for name in quiet})
    run.plan(rows=1)
    run.start(1)
    if "PROGRESS" not in quiet:  # Snakemake does not say it then
        run.finish(1)
    run.end()
    assert len(run.shown) == lines


@pytest.mark.parametrize("option", ["dryrun", "verbose", "printshellcmds", "debug_dag"])
def test_snakemakes_own_output_where_it_is_asked_for(tmp_path, capsys, option):
    run = Run(tmp_path, capsys, **{option: True})
    run.plan(rows=1)
    assert not run.handler.writes_to_stream and run.shown == []


def test_snakemakes_log_file_has_the_files_of_each_job(run):
    run.start(1, log=["x.log"])
    text = DefaultFormatter().format(run.file_record)
    assert "rule rows:" in text and "output: x" in text and "log: x.log" in text and "reason: it is missing" in text


def test_colour_on_a_terminal_only(run, monkeypatch):
    monkeypatch.setattr(plugin.LogHandler, "stream", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert run.handler.colored(32, "x") == "\033[32mx\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert run.handler.colored(32, "x") == "x"


def test_every_rule_says_in_words_what_it_makes():
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for text in plugin.RULE.split(path.read_text("utf8"))[1:][1::2]:
            assert "message:" in text, f"{path.name}: a rule without message: {text[:200]}"


def test_loading_it_loads_nothing_heavy():
    code = "import sys, snakemake_logger_plugin_fute; print(*{name.partition('.')[0] for name in sys.modules})"
    environment = {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=True)
    assert not {"snakemake", "rich", "torch", "numpy", "pandas", "pydantic"} & set(done.stdout.split())


def test_every_rule_of_the_workflow_is_in_the_stage_of_its_file():
    stages = plugin.read_stages(ROOT / "rules")
    assert stages.keys() == rules().keys()
    assert stages["mte"] == stages["control"] == "embeddings" and stages["finetune_model"] == "black boxes"


def test_the_list_of_rules_says_of_each_what_it_alone_does():
    """`snakemake --list` shows docstrings, and a rule made from another one would have that one's."""
    told = [re.match(r'\s*(?:#.*\n\s*)*"""(.+?)"""', body) for body in rules().values()]
    assert all(told) and len({text[1] for text in told}) == len(told)
