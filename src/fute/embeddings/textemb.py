"""TextEmb on the surrogate: the mean of its states, without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from fute.config.methods import TextEmbSettings
from fute.surrogate.text2text import Example, Surrogate, collate


class TextEmb:
    """Mean over pairs of the mean over y's tokens of the surrogate's last hidden states of y given x.

    Vu et al. (2020) average a text encoder's states over a dataset's texts. With a fixed pool U, this would give the
    same vector for all black boxes, so the states at y are averaged here. For an encoder-decoder they are the decoder's
    (its inputs are the start token and y without its end); for a causal model, those of y's tokens in the sequence
    x, y. The vector has as many numbers as a state.
    """

    def __init__(self, surrogate: Surrogate, settings: TextEmbSettings) -> None:
        self.surrogate, self.settings = surrogate, settings

    def run(self, examples: Sequence[Example], progress: Callable[[int, int, float], None] | None) -> np.ndarray:
        """The vector, (d,) fp32, summed in fp64."""
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
        encoded = model.get_encoder()(batch["input_ids"], mask).last_hidden_state
        start = model.prepare_decoder_input_ids_from_labels(batch["labels"])
        decoder = model.get_decoder()
        states = decoder(start, encoder_hidden_states=encoded, encoder_attention_mask=mask).last_hidden_state
        is_target = torch.arange(states.shape[1], device=states.device) < counts[:, None]
    else:
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
        states = surrogate.model.base_model(**inputs, use_cache=False).last_hidden_state
        # sequences are padded on the left, so targets are at the right end
        is_target = torch.arange(states.shape[1], 0, -1, device=states.device) <= counts[:, None]
    return (states.float() * is_target[..., None]).sum(1) / counts[:, None]


def method(surrogate: Surrogate, settings: TextEmbSettings, accelerator: Accelerator) -> TextEmb:
    """TextEmb over a surrogate; `fute.embeddings.embedder` calls this function by name."""
    return TextEmb(surrogate, settings)
