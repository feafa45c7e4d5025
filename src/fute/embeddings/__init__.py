"""Task embeddings: the method f, from pairs (x, y) and a surrogate to a vector, and how vectors are compared.

A DTE is f of a dataset's pairs; an MTE is f of unlabelled texts with a black box's outputs as y (Wang et al.,
"Towards Unified Task Embeddings Across Multiple Models").

`vectors`   the vector with its record, and cosines (what this package exports; needs no torch)
`embedder`  `Embedder`: a surrogate loaded once, many vectors
`taskemb`   fine-tune the surrogate, then the diagonal of its Fisher information
`tupate`    tune a frozen surrogate (prefix, LoRA, biases), then average what was tuned over the layers
`textemb`   average the surrogate's states, without training
`pairs`     a dataset's rows, or U with a black box's labels, as pairs (x, y)
`batch`     the step that learns many vectors; `extract` takes one out, `encode` keeps an encoder's states for all
`embed_file`, `compare_files`   the commands for own pairs
"""

from fute.embeddings.vectors import (
    Embedding,
    EmbeddingError,
    centred_cosine,
    cosine,
    load,
    record_of,
    save,
    sqrt_cosine,
    tensor_mean_cosine,
)

__all__ = [
    "Embedding",
    "EmbeddingError",
    "centred_cosine",
    "cosine",
    "load",
    "record_of",
    "save",
    "sqrt_cosine",
    "tensor_mean_cosine",
]
