"""Names and bounds that results are told with."""

METHOD_NAMES = {
    "taskemb": "FUTE + TaskEmb",
    "tupate": "FUTE + TuPaTE",
    "tupate-lora": "FUTE + TuPaTE by LoRA",
    "tupate-bias": "FUTE + TuPaTE by biases",
    "textemb": "FUTE + TextEmb",
}
"""Method id -> its row in Table 3. The paper prints the first two."""

SIMILARITY_ROWS = {"cosine": "", "centred_cosine": " (centred)", "tensor_mean_cosine": " (tensor mean)"}
"""Column of similarities.csv that ranks prompts -> what its row in Table 3 is called beside the method's name."""

FORM_NAMES = {"text2text": "text-to-text form", "heads": "form of new heads"}
"""Form of a surrogate -> how the report names it."""

LEAST_SEPARATION = 2.0
"""Prompts must spread so many times as far as order seeds do before their ranking is read."""
