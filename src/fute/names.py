"""Names and bounds that results are told with."""

METHOD_NAMES = {"taskemb": "FUTE + TaskEmb", "tupate": "FUTE + TuPaTE"}
"""Method id -> its row in Table 3."""

LEAST_SEPARATION = 2.0
"""Prompts must spread so many times as far as order seeds do before their ranking is read."""
