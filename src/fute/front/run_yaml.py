"""The text of a run's YAML: the settings that `fute new` chose, each section with the reason for it."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import indent
from typing import Any

import yaml

LIMIT = 384
"""Most texts of U: as in config/planted.yaml, where LabelCov found what was planted."""
TRAIN_ROWS = 4096
"""Most rows to learn from. LabelCov's encoder would read 100,000 long ones for an hour on two cores, and U has fewer
texts than these in any case."""
TEST_ROWS = 100
DRAWS = 9
"""Permutations of answers. What they do to a distance of two scores is known from these alone: of three, scores have to
be half as far again apart to be told from chance."""
TEXT_WORDS = 64
"""Words of a text that a prompt gets; tokens of a text that a model is fine-tuned on."""

HEAD = """\
# yaml-language-server: $schema={schema}
# {title}
# Made by `fute new`. All keys are in docs/config.md. After a change here, only what depends on it is made again.
#   fute run {name}     makes the run (Snakemake, with this file)
#   fute rank {name}    orders the candidates, and says what the order rests on
"""
REGISTRY = """
# What this run adds to the registries in config/. Paths are relative to this file.
registry:
"""
DATA = """
# Rows of the datasets: at most `train_rows` to learn from and `test_rows` to check on (null: all), drawn by a fixed
# seed; none are kept for early stopping.
"""
UNSUP = """
# U, the unlabelled texts that every candidate labels: {source}.
"""
LLM = """
# Every prompt is asked for every text of U and for the test rows, with at most `max_text_words` words of a text (null:
# all of them, which takes longer). `calibration`: the mean of a prompt's scores over U is subtracted, so that no class
# is always favoured (the paper does not do that).
"""
LM = """
# Every model is fine-tuned on the training rows for a few steps, with `max_tokens` of each row, and then labels U. The
# second dataset is there because the section asks for two; `fute run` asks for nothing that needs it.
"""
METHODS = """
# LabelCov trains nothing and costs seconds (docs/methods.md 2.1, docs/planted.md).{controls}
# A second opinion that takes minutes per candidate on a CPU: `methods: [labelcov, tupate-lora]`{also},
# with the recipe of config/planted.yaml (its sections `gate` and `tupate_lora`).
"""
CONTROLS = """ The controls, answers permuted over
# U, say how large a difference by chance is."""
END = """
# For a GPU: `gpus: 1`.
"""


def run_yaml(name: str, title: str, schema: str, values: Mapping[str, Any], u_source: str) -> str:
    """The text of a run's file.

    schema: path of the schema, for editors. values: the sections registry, data, unsup, llm or lm. u_source: what U is.
    """
    parts = [HEAD.format(name=name, title=title, schema=schema), dumped({"name": name, "title": title})]
    parts += [REGISTRY, indent(dumped(values["registry"]), "  "), DATA, dumped({"data": values["data"]})]
    parts += [UNSUP.format(source=u_source), dumped({"unsup": values["unsup"]})]
    if values.get("lm"):
        parts += [LM, dumped({"llm": None, "lm": values["lm"]})]
    else:
        parts += [LLM, dumped({"llm": values["llm"], "lm": None})]
    surrogate = {"name": "smollm2-135m", "settings": {"family": "causal", "max_input_tokens": 64}}
    methods: dict[str, Any] = {"surrogate": surrogate, "methods": ["labelcov"]}
    if values.get("lm"):
        words = METHODS.format(controls="", also=", here and in the ladder `start` above")
    else:  # controls are of prompts alone
        words = METHODS.format(controls=CONTROLS, also="")
        methods["controls"] = {"methods": ["labelcov"], "null_draws": DRAWS, "abc": False}
    methods["embeddings_per_process"] = None
    parts += [words, dumped(methods), END, dumped({"threads": 2, "gpus": 0})]
    return "".join(parts)


def dumped(value: Any) -> str:
    """YAML of a value, in the order of its keys; innermost lists and mappings on one line."""
    plain = isinstance(value, dict) and not any(isinstance(inner, (dict, list)) for inner in value.values())
    flow = False if plain else None
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=10**6)
    return text.removesuffix("...\n")
