"""The baselines of Table 3: their ids in the configuration, and their rows in the table."""

from __future__ import annotations

from typing import Literal

LlmBaseline = Literal[
    "mi", "local-e", "global-e", "zps-log", "zps-prob", "zps-vote", "self-select", "spell", "mdl", "mi-hard",
    "global-e-soft", "mi-cbm", "mi-hard-cbm", "global-e-cbm", "mdl-cbm", "zps-log-cbm", "accuracy", "leep",
]  # fmt: skip
PAPER_BASELINES: dict[LlmBaseline, str] = {
    "mi": "MI", "local-e": "LocalE", "global-e": "GlobalE", "zps-log": "ZPS-Log", "zps-prob": "ZPS-Prob",
    "zps-vote": "ZPS-Vote", "self-select": "Self-Select", "spell": "SPELL",
}  # fmt: skip
"""Baseline id -> its row in Table 3, in the table's order: the paper's, which are computed if nothing else is said."""
LLM_BASELINES: dict[LlmBaseline, str] = PAPER_BASELINES | {
    "mdl": "MDL", "mi-hard": "MI (hard)", "global-e-soft": "GlobalE (soft)", "mi-cbm": "MI (CBM)",
    "mi-hard-cbm": "MI (hard, CBM)", "global-e-cbm": "GlobalE (CBM)", "mdl-cbm": "MDL (CBM)",
    "zps-log-cbm": "ZPS-Log (CBM)", "accuracy": "Accuracy on labelled rows", "leep": "LEEP",
}  # fmt: skip
"""The same of all baselines. The further ones cost no request, but for those of `LABELLED`."""
LABELLED: tuple[LlmBaseline, ...] = ("accuracy", "leep")
"""Baselines that read the target's labelled training rows, as FUTE does, and what every prompt says of them."""
