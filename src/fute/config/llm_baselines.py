"""The baselines of Table 3: their ids in the configuration, and their rows in the table."""

from __future__ import annotations

from typing import Literal

LlmBaseline = Literal["mi", "local-e", "global-e", "zps-log", "zps-prob", "zps-vote", "self-select", "spell"]
LLM_BASELINES: dict[LlmBaseline, str] = {
    "mi": "MI", "local-e": "LocalE", "global-e": "GlobalE", "zps-log": "ZPS-Log", "zps-prob": "ZPS-Prob",
    "zps-vote": "ZPS-Vote", "self-select": "Self-Select", "spell": "SPELL",
}  # fmt: skip
"""Baseline id -> its row in Table 3, in the table's order."""
