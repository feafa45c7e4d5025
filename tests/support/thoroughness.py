"""How much tests of random moments and of large sizes do: `make test-long` runs them with FUTE_TEST_LONG=1."""

from __future__ import annotations

import os

LONG = os.environ.get("FUTE_TEST_LONG", "") == "1"
