"""Names and bounds that results are told with."""

METHOD_NAMES = {
    "taskemb": "FUTE + TaskEmb",
    "tupate": "FUTE + TuPaTE",
    "tupate-lora": "FUTE + TuPaTE by LoRA",
    "tupate-bias": "FUTE + TuPaTE by biases",
    "textemb": "FUTE + TextEmb",
}
"""Method id -> its row in Table 3. The paper prints the first two."""

LEAST_SEPARATION = 2.0
"""Prompts must spread so many times as far as order seeds do before their ranking is read."""
