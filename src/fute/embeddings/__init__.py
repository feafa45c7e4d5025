"""Task embeddings: the method f, which turns pairs (x, y) and a surrogate into a vector, and the comparison of vectors.

A DTE is f of a dataset's pairs. An MTE is f of unlabelled texts with a black box's outputs as y (Wang et al.,
"Towards Unified Task Embeddings Across Multiple Models").

`vectors`   the vector with its record, and cosines (the exports of this package; needs no torch)
`similarity`   similarities beside the raw cosine: around a centre, and task2vec's
`embedder`  `Embedder`: a surrogate loaded once, for many vectors
`taskemb`   fine-tunes the surrogate, then takes the diagonal of its Fisher information
`tuned`     tunes a frozen surrogate, then averages the tuned parameters over the layers; the tuning is one of
            `tupate` (prefix), `tupate_lora` and `tupate_bias`
`textemb`   averages the surrogate's states, without training
`labelcov`  covariance of a frozen encoder's text embeddings with the labels, without training or surrogate;
            `covariance` has its plain functions on arrays, and `sentence_encoder` the encoder
`pairs`     a dataset's rows, or U with a black box's labels, as pairs (x, y)
`embed_batch_step`   learns many vectors; `extract_embedding_step` takes one out of a batch, and
            `encoder_states_step` computes an encoder's states once for all vectors
`embed_file`, `compare_files`   the commands for a user's own pairs
"""

from importlib import import_module

EXPORTS = {
    **dict.fromkeys(
        (
            "Embedding", "EmbeddingError", "centred_cosine", "cosine", "in_one_space", "load", "save", "sqrt_cosine",
            "tensor_mean_cosine",
        ),
        "vectors",
    ),
    **dict.fromkeys(
        ("label_covariance", "label_similarity", "number_covariance", "output_covariance", "scatter", "scatter_cosine"),
        "covariance",
    ),
}  # fmt: skip
"""Name -> module, imported when it is asked for: numpy takes longer than most of a small step."""

__all__ = list(EXPORTS)


def __getattr__(name: str) -> object:
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(import_module(f"fute.embeddings.{EXPORTS[name]}"), name)
