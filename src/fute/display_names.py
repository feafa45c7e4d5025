"""Names and bounds for the display of results."""

METHOD_NAMES = {
    "taskemb": "FUTE + TaskEmb",
    "tupate": "FUTE + TuPaTE",
    "tupate-lora": "FUTE + TuPaTE by LoRA",
    "tupate-bias": "FUTE + TuPaTE by biases",
    "textemb": "FUTE + TextEmb",
    "labelcov": "LabelCov",
}
"""Method id -> its row in Table 3. The paper prints the first two."""

SIMILARITY_ROWS = {"cosine": "", "centred_cosine": " (centred)", "tensor_mean_cosine": " (tensor mean)"}
"""Column of similarities.csv that ranks prompts -> suffix to the method's name in Table 3."""

FORM_NAMES = {"text2text": "text-to-text form", "heads": "form of new heads"}
"""Form of a surrogate -> its name in the report."""

LEAST_SEPARATION = 2.0
"""Least ratio of the spread of prompts to the spread of order seeds for a ranking of prompts to be used."""

MANY_UNKNOWN_TOKENS = 0.05
"""A set with a larger share of tokens that its surrogate does not know gets a warning."""
