"""TextEmb on the surrogate: what it reads, averaged, without any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from fute.config.recipes import TextEmbSettings
from fute.surrogate.text2text import Example, Surrogate, collate


class TextEmb:
    """Mean over pairs of the mean over y's tokens of the surrogate's last hidden states of y given x.

    Vu et al. (2020) average a text encoder's states over a dataset's texts. With a fixed pool U that is one vector
    for all black boxes, so the states averaged here are those at y: of the decoder for an encoder-decoder (its
    inputs are the start token and y without its end), of y's tokens in the sequence x, y for a causal model. The
    vector has as many numbers as the surrogate's states.
    """

    def __init__(self, surrogate: Surrogate, settings: TextEmbSettings) -> None:
        self.surrogate, self.settings = surrogate, settings

    def run(self, examples: Sequence[Example], progress: Callable[[int, int, float], None] | None) -> np.ndarray:
        """(d,) fp32, summed in fp64."""
        size = self.settings.batch_size
        ordered = sorted(examples, key=lambda example: (len(example.input_ids), example.index))
        batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]
        total: Tensor | float = 0.0
        for number, batch in enumerate(batches, start=1):
            total = total + target_states(self.surrogate, batch).double().sum(0)
            if progress:
                progress(number, len(batches), float("nan"))
        return (total / len(ordered)).float().cpu().numpy()


@torch.no_grad()
def target_states(surrogate: Surrogate, examples: Sequence[Example]) -> Tensor:
    """Mean of the last hidden states over each example's target positions, (B, d)."""
    batch = collate(surrogate, examples)
    counts = torch.tensor([len(example.target_ids) for example in examples], device=surrogate.device)
    if surrogate.family == "encoder-decoder":
        model = surrogate.model
        mask = batch["attention_mask"]
        read = model.get_encoder()(batch["input_ids"], mask).last_hidden_state
        start = model.prepare_decoder_input_ids_from_labels(batch["labels"])
        decoder = model.get_decoder()
        states = decoder(start, encoder_hidden_states=read, encoder_attention_mask=mask).last_hidden_state
        own = torch.arange(states.shape[1], device=states.device) < counts[:, None]
    else:
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
        states = surrogate.model.base_model(**inputs, use_cache=False).last_hidden_state
        # sequences are padded on the left, so targets stand at the right end
        own = torch.arange(states.shape[1], 0, -1, device=states.device) <= counts[:, None]
    return (states.float() * own[..., None]).sum(1) / counts[:, None]


def method(surrogate: Surrogate, settings: TextEmbSettings, accelerator: Accelerator) -> TextEmb:
    """TextEmb over a surrogate, as `fute.embeddings.embedder` asks for it."""
    return TextEmb(surrogate, settings)
