"""What the terminal shows of a run: one line for each finished step, in the words of its rule's `message`.

Snakemake finds this package by its name and uses it where `--logger fute` is given, as profiles/default does. Dry runs
and `--verbose`, `--printshellcmds` and `--debug-dag` show Snakemake's own output. Snakemake's log file always has all
of it. The jobs that Snakemake starts, on a cluster too, read no profile and never use this package.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from fute.cli import COMMANDS
from fute.display_names import duration

LAST_LINES = 20
"""Lines of a failed step's log that are shown."""
NAMED = 5
"""Failed steps that are named at the end, and steps of a failed cluster job that are named with it."""
NOISE = re.compile(
    r"None$|Assuming unrestricted shared filesystem|Building DAG of jobs|Using shell:|Group jobs: inactive"
    r"|(Conda environments|Singularity containers): ignored|Select jobs to execute|Execute \d+ jobs|Complete log"
    r"|Handing over execution to foreign system|Removing output files of failed job"
    r"|Job rate limit reached|Shutting down, this might take some time"
    r"|WorkflowError:\nAt least one job did not complete successfully"
)
"""What Snakemake says between the steps, and what is said here in other words. Anything else is shown as it is."""
NOT_SHOWN = {LogEvent.SHELLCMD, LogEvent.JOB_STARTED, LogEvent.RESOURCES_INFO, LogEvent.PROGRESS, LogEvent.RULEGRAPH}
COMMAND_FAILED = re.compile(
    r"(?s)CalledProcessError\b.*(?:exit status (?P<status>\d+)|died with <Signals\.(?P<signal>\w+))"
)
GROUP = r"[0-9a-f]{8}-[0-9a-f-]{27}"
"""Snakemake's id of a cluster job of several steps."""
SIGNALS = {"130": "SIGINT", "137": "SIGKILL", "143": "SIGTERM"}
"""Exit statuses of a shell whose command was ended by a signal."""
INTERRUPTED = "stopped by SIGINT"
"""How the steps end that run when a user presses Ctrl-C."""
UNLOCK = "It can be removed with the --unlock argument."
UNLOCK_HERE = (
    "After a run on a cluster, whose jobs may still be alive: fute cluster clean, with the same --configfile, cancels "
    "them and removes the lock. Otherwise the same command with --unlock removes it."
)
"""What to do about the lock that a killed Snakemake leaves; its own words would let two runs write side by side."""
RULE = re.compile(r"^ *(?:rule|checkpoint|use rule \w+ as) (\w+)(?: with)? *:", re.MULTILINE)
RED, GREEN, YELLOW = 31, 32, 33


@dataclass(frozen=True)
class Step:
    """A step that was started. teed: its log goes to the terminal, too. together: steps in its cluster job."""

    rule: str
    words: str
    started: float
    log: str | None
    teed: bool
    together: int


class LogHandler(LogHandlerBase):
    """Writes the lines. Snakemake calls it from a thread of its own, one record after the other."""

    def __post_init__(self) -> None:
        settings = self.common_settings
        # Snakemake's own handler writes to the terminal where none of its plug-ins does
        self.plain = settings.dryrun or settings.verbose or settings.printshellcmds or settings.debug_dag
        quiet = {str(choice).lower().rpartition(".")[2] for choice in settings.quiet or ()}
        self.silent, self.no_progress = "all" in quiet, "progress" in quiet
        self.stages: dict[str, str] = {}
        self.steps: dict[int, Step] = {}
        self.failed: dict[int, Step] = {}
        self.commands_failed: list[str] = []
        self.done = self.total = self.together = 0
        self.remote = self.ended_badly = self.stopped = self.line_since_failure = False
        self.log_file = ""
        self.began = time.time()
        _keep_words_apart()

    @property
    def writes_to_stream(self) -> bool:
        return not self.plain

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        if self.plain or self.silent:
            return
        try:
            self.show(record)
        except Exception:
            self.handleError(record)

    def show(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == LogEvent.WORKFLOW_STARTED:
            self.stages = read_stages(Path(record.basedir) / "rules")
        elif event == LogEvent.RUN_INFO:
            self.show_plan(record.stats)
        elif event == LogEvent.GROUP_INFO:
            self.together = len(list(record.jobs))
        elif event == LogEvent.JOB_INFO:
            self.steps[record.jobid] = self.step(record)
        elif event == LogEvent.JOB_FINISHED:
            self.show_finished(record)
        elif event == LogEvent.JOB_ERROR:
            self.show_failed(record)
        elif event == LogEvent.GROUP_ERROR:
            self.show_failed_group(record)
        elif event == LogEvent.ERROR and COMMAND_FAILED.search(record.getMessage()):
            self.commands_failed.append(record.getMessage())
        elif event in NOT_SHOWN:
            self.remote |= hasattr(record, "nodes")
        elif record.levelno > logging.DEBUG:
            self.show_text(record)

    def show_plan(self, stats: dict[str, int]) -> None:
        """One line: how many steps will run in each stage, the stages in the order of the work."""
        stages: Counter[str] = Counter()
        for rule, jobs in stats.items():
            if stage := self.stage(rule):
                stages[stage] += jobs
        self.total = stages.total()
        if not self.no_progress:
            self.write(f"{steps(self.total)} to run: {', '.join(f'{stage} {n}' for stage, n in stages.items())}")

    def stage(self, rule: str) -> str | None:
        """The stage of a rule; None for a target, which makes nothing. All are steps where no stages are known."""
        return self.stages.get(rule) if self.stages else None if rule == "total" else "all"

    def step(self, record: logging.LogRecord) -> Step:
        log = next(iter(record.log or ()), None)
        # the last step of a group's job is told from the next job by `indent` alone
        self.together = self.together if record.indent else 1
        return Step(
            rule=record.rule_name,
            words=record.words or " ".join([record.rule_name, *map(str, (record.wildcards or {}).values())]),
            started=record.created,
            log=log,
            teed=bool(log) and f"tee {log}" in (record.shellcmd or "") and (record.local or not self.remote),
            together=self.together,
        )

    def show_finished(self, record: logging.LogRecord) -> None:
        self.failed.pop(record.job_id, None)
        step = self.steps.pop(record.job_id, None)
        if step is None or not self.stage(step.rule):
            return
        self.done += 1
        number = f"[{self.done:>{len(str(self.total))}}/{self.total}]"
        took = f"{duration(record.created - step.started):>11}"
        together = f"  (one of {step.together} steps in one job)" if step.together > 1 else ""
        self.write(self.colored(GREEN, f"{number} {took}"), step.words + together)
        self.line_since_failure = True

    def show_failed(self, record: logging.LogRecord) -> None:
        """Which step, why, and the last lines of its log, unless they are on the terminal already."""
        if record.jobid in self.failed:
            return
        unknown = Step(record.rule_name, record.rule_name, record.created, None, teed=False, together=1)
        step = self.failed[record.jobid] = self.steps.pop(record.jobid, unknown)
        if step.together > 1:
            return  # said of its group
        why = record.rule_msg or self.why(record.shellcmd)
        if why == INTERRUPTED:
            del self.failed[record.jobid]
            self.write(self.colored(YELLOW, "stopped:"), step.words)
            return
        self.write(
            self.colored(RED, f"FAILED after {duration(record.created - step.started)}:"),
            f"{step.words}{f': {why}' if why else ''}",
        )
        if step.teed and one_screen():
            self.write(f"    what it said is above and in {step.log}")
        else:
            self.show_log(record.log)
        self.line_since_failure = False

    def show_failed_group(self, record: logging.LogRecord) -> None:
        known = [self.steps[info["jobid"]].words for info in record.job_error_info if info["jobid"] in self.steps]
        more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
        why = getattr(record, "msg", None)
        self.write(self.colored(RED, f"FAILED: a job of {steps(len(known))}:"), "; ".join(known[:NAMED]) + more)
        if why and not why.startswith("Error in group"):
            self.write(f"    {why}")
        self.show_log(record.aux_logs)

    def why(self, command: str | None) -> str:
        """How the command of a failed job ended; Snakemake says that before it says which job it was."""
        if not self.commands_failed:
            return ""
        # in a container it is quoted once more; Snakemake says of one job after the other
        said = next((text for text in self.commands_failed if command and command in text), self.commands_failed[0])
        self.commands_failed.remove(said)
        ending = COMMAND_FAILED.search(said)
        signal = ending["signal"] or SIGNALS.get(ending["status"])
        if signal == "SIGKILL":
            return "killed; where nobody did that, the memory was not enough"
        return f"stopped by {signal}" if signal else f"exit status {ending['status']}"

    def show_log(self, paths: Sequence[str]) -> None:
        """The last lines of the first log that has any: a cluster job's log repeats the step's own."""
        for path in paths:
            try:
                lines = Path(path).read_text(encoding="utf8", errors="replace").rstrip().splitlines()
            except OSError:
                continue
            if lines:
                more = f", the last {LAST_LINES} of {len(lines)} lines" if len(lines) > LAST_LINES else ""
                self.write(f"    {path}{more}:")
                for line in lines[-LAST_LINES:]:
                    self.write(f"    | {line}")
                return
        self.write(f"    nothing is in {', '.join(paths)}" if paths else "    it has no log")

    def show_text(self, record: logging.LogRecord) -> None:
        """What Snakemake says beside the steps: warnings, errors, and the run's end."""
        text = record.getMessage()
        if text.startswith("Complete log(s): "):
            self.log_file = os.path.relpath(text.removeprefix("Complete log(s): "))
        elif text.startswith("Exiting because a job execution failed"):
            self.ended_badly = True
        elif text.startswith("Elapsed time: "):
            self.show_end(record.created)
        elif job := re.match(rf"Trying to restart job (?:(\d+)|{GROUP})\.", text):
            step = self.failed.pop(int(job[1]), None) if job[1] else None
            self.write("trying again:", step.words if step else f"job {job[1]}" if job[1] else "that job")
        elif text.startswith("Terminating processes on user request"):
            self.stopped = True
            self.write("Stopping the steps that run; this can take a while.")
        elif text.startswith("Will exit after finishing currently running jobs"):
            if not self.stopped:  # Snakemake says it again for each of them
                self.write("Asked to stop: the steps that run are waited for, no other is started.")
            self.stopped = True
        elif not NOISE.match(text):
            text = text.replace(UNLOCK, UNLOCK_HERE)
            color = RED if record.levelno >= logging.ERROR else YELLOW if record.levelno >= logging.WARNING else None
            job = re.match(r"Job (\d+)(?= has been submitted)", text)
            if job and int(job[1]) in self.steps:
                text = f"sent: {self.steps[int(job[1])].words}{text.removeprefix(job[0])}"
            text = re.sub(rf"^Job {GROUP}(?= has been submitted)", "sent: a job of several steps", text)
            self.write(self.colored(color, text) if color else text)

    def show_end(self, now: float) -> None:
        """Steps done and time; after a failure or a stop also what to do."""
        for text in self.commands_failed:
            self.write(self.colored(RED, text))
        log = f" Snakemake's log: {self.log_file}" if self.log_file else ""
        spent = duration(now - self.began)
        if not (self.failed or self.ended_badly or self.stopped):
            self.write(self.colored(GREEN, f"{steps(self.total)} done in {spent}.") + log)
            return
        # with --quiet progress Snakemake does not say what has finished
        begun = f"after {spent}" if self.no_progress else f"{self.done} of {steps(self.total)} done in {spent}"
        if self.stopped:
            self.write(self.colored(YELLOW, f"Stopped: {begun}.") + log)
            self.write("Run the same command again to go on: finished work is kept.")
            return
        self.write(self.colored(RED, f"{steps(len(self.failed)) if self.failed else 'The run'} failed, {begun}.") + log)
        if len(self.failed) > 1 or self.line_since_failure:
            for step in list(self.failed.values())[:NAMED]:
                self.write(f"    {step.words}{f': {step.log}' if step.log else ''}")
            if len(self.failed) > NAMED:
                self.write(f"    and {len(self.failed) - NAMED} more")
        self.write("Correct what the errors above name and run the same command again: finished work is kept.")

    def colored(self, color: int, text: str) -> str:
        plain = self.common_settings.nocolor or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        return text if plain or not self.stream.isatty() else f"\033[{color}m{text}\033[0m"

    def write(self, *words: str) -> None:
        print(COMMANDS.sub("?", "  ".join(words)), file=self.stream, flush=True)


def steps(n: int) -> str:
    return f"{n} step{'' if n == 1 else 's'}"


def read_stages(folder: Path) -> dict[str, str]:
    """Rule -> stage of the work, which is the name of the rule's file."""
    files = sorted(folder.glob("*.smk"))
    return {rule: path.stem.replace("_", " ") for path in files for rule in RULE.findall(path.read_text("utf8"))}


def one_screen() -> bool:
    """Whether the output of steps (Snakemake's standard output) goes where these lines go."""
    try:
        return os.path.sameopenfile(1, 2)
    except OSError:
        return False


def _words_apart(record: logging.LogRecord) -> bool:
    if getattr(record, "event", None) == LogEvent.JOB_INFO:
        record.words, record.rule_msg = record.rule_msg, None
    return True


def _keep_words_apart() -> None:
    """A rule's `message` replaces the rule, its files and resources wherever Snakemake shows a job, its log file too:
    taken off the record, both are there."""
    from snakemake.logging import logger

    if _words_apart not in logger.filters:
        logger.addFilter(_words_apart)
