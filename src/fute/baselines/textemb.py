"""TextEmb of Vu et al. (EMNLP 2020): the mean state of a pretrained model over a dataset's texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fute.blackbox.encoding import Encoded, collate
from fute.blackbox.heads import BlackBox
from fute.blackbox.predict import batches_by_length


@torch.no_grad()
def text_embedding(
    box: BlackBox, texts: Sequence[Encoded], *, batch_size: int, progress: Callable[[int], object] | None = None
) -> NDArray[np.float32]:
    """Mean over texts of the mean over a text's tokens of the last layer's states, (hidden,).

    Special tokens count, padding does not. box: a model that is not fine-tuned; its head is not used. For an
    encoder-decoder model the states are the encoder's.
    """
    box.model.eval()
    encoder = box.model.get_encoder() if box.family == "encoder-decoder" else box.model.base_model
    total: torch.Tensor | float = 0.0
    for batch in batches_by_length(texts, batch_size):
        inputs = collate(box, batch)
        states = encoder(**inputs).last_hidden_state.double()
        mask = inputs["attention_mask"][:, :, None]
        total = total + ((states * mask).sum(1) / mask.sum(1)).sum(0)
        if progress:
            progress(len(batch))
    return (total / len(texts)).float().cpu().numpy()
