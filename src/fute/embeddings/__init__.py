"""Task embeddings: the method f, from pairs (x, y) and a surrogate to a vector, and how vectors are compared.

A DTE is f of a dataset's pairs; an MTE is f of unlabelled texts with a black box's outputs as y (Wang et al.,
"Towards Unified Task Embeddings Across Multiple Models").

`vectors`   the vector with its record, and cosines (what this package exports; needs no torch)
`embedder`  `Embedder`: a surrogate loaded once, many vectors
`taskemb`   fine-tune the surrogate, then the diagonal of its Fisher information
`tupate`    train a deep prefix, then average it over the layers
"""

from fute.embeddings.vectors import (
    Embedding,
    centred_cosine,
    cosine,
    load,
    save,
    sqrt_cosine,
    tensor_mean_cosine,
)

__all__ = ["Embedding", "centred_cosine", "cosine", "load", "save", "sqrt_cosine", "tensor_mean_cosine"]
