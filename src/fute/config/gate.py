"""The section `gate`: the check, on held-out pairs, that a surrogate has learned what its vector stands for."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from fute.config.sections import Section


class GateConfig(Section):
    """How many pairs are held out of every training, to see whether the surrogate has learned the task."""

    # A dataset's rows for early stopping are taken if there are enough of them. Otherwise pairs that `pairs` leaves
    # over are taken, and only then pairs that would be learned from: the last ones, at most a quarter.

    held_out: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Pairs to hold out, as a share of those to learn from. They are rows for early stopping, or pairs "
        "that `pairs` leaves over, or else the last pairs, at most a quarter of all. 0: no check.",
    )
    least: int = Field(default=16, ge=1, description="Fewest pairs to hold out, where a quarter of all are as many.")
    most: int = Field(default=256, ge=1, description="Most pairs to hold out.")

    @model_validator(mode="after")
    def _in_order(self) -> GateConfig:
        if self.least > self.most:
            raise ValueError(f"least is {self.least}, but most is {self.most}; raise most")
        return self

    def wanted(self, learned: int) -> int:
        """Pairs to hold out beside a number of pairs to learn from."""
        return min(self.most, max(self.least, math.ceil(self.held_out * learned))) if self.held_out else 0

    def split(self, available: int, pairs: int | None) -> tuple[int, int]:
        """(how many to learn from, how many to hold out) of a number of different pairs, in their order.

        pairs: most pairs to learn from; None: no limit. The held-out ones follow those that are learned from, or are
        the last ones if too few follow.
        """
        learned = available if pairs is None else min(pairs, available)
        wanted = self.wanted(learned)
        if available - learned < wanted:
            wanted = max(available - learned, min(wanted, available // 4))
            learned = available - wanted
        return learned, wanted
