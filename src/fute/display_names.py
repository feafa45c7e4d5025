"""Names, bounds and numbers for the display of results."""

import math

METHOD_NAMES = {
    "taskemb": "FUTE + TaskEmb",
    "tupate": "FUTE + TuPaTE",
    "tupate-lora": "FUTE + TuPaTE by LoRA",
    "tupate-bias": "FUTE + TuPaTE by biases",
    "textemb": "FUTE + TextEmb",
    "labelcov": "LabelCov",
}
"""Method id -> its row in Table 3. The paper prints the first two."""

METHOD_TITLES = {method: name.removeprefix("FUTE + ") for method, name in METHOD_NAMES.items()}
"""Method id -> its name."""

SIMILARITY_ROWS = {
    "cosine": "",
    "centred_cosine": " (centred)",
    "candidates_cosine": " (centred on candidates)",
    "nulls_cosine": " (centred on nulls)",
    "tensor_mean_cosine": " (tensor mean)",
    "task2vec_cosine": " (task2vec)",
}
"""Column of similarities.csv that ranks prompts -> suffix to the method's name in Table 3."""

FORM_NAMES = {"text2text": "text-to-text form", "heads": "form of new heads"}
"""Form of a surrogate -> its name in the report."""

LEVEL = 0.05
"""Largest p-value of one test that is called a difference. Several tests are not corrected for."""


def p_text(p: float) -> str:
    """P-value as printed: three decimals, or `<0.001`. Raises ValueError for NaN, which is no small p-value."""
    if math.isnan(p):
        raise ValueError("there was no test, so there is no p-value to print")
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def duration(seconds: float) -> str:
    """Format seconds as `12.3 s`, `4 min 05 s` or `2 h 07 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
