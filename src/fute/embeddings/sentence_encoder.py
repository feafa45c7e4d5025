"""A frozen encoder that turns texts into vectors of unit length: the mean of its last states over the tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, PreTrainedModel

from fute.device import compute_device
from fute.pretrained import check_whole, usable_positions
from fute.surrogate.text2text import SEGMENT_BREAK
from fute.tokenizer import load_tokenizer


class SentenceEncoder:
    """Mean pooling as in sentence-transformers: special tokens count, padding does not. fp32, in eval mode.

    folder: a saved model; of an encoder-decoder the encoder is used. model: the folder's model without its head, where
    it is loaded already: AutoModel does not know all names of weights below a head for spans (Llama's). max_tokens:
    longer texts are cut, a pair at its longer segment. `SEGMENT_BREAK` separates the segments of a pair where the
    tokenizer puts no mark between them (GPT-2, SmolLM2). Attribute `size`: numbers in a vector, d.
    """

    def __init__(self, folder: Path, *, max_tokens: int, batch_size: int, model: PreTrainedModel | None = None) -> None:
        self.max_tokens, self.batch_size, self.device = max_tokens, batch_size, compute_device()
        self._name = folder.name
        self.tokenizer = load_tokenizer(folder)
        self.tokenizer.padding_side = "right"  # on the left, it would move a text's positions
        marks = self.tokenizer.num_special_tokens_to_add
        self._between = SEGMENT_BREAK if marks(pair=True) == marks(pair=False) else ""
        if self.tokenizer.pad_token is None:  # padding is masked, so any token will do
            self.tokenizer.pad_token = self.tokenizer.eos_token
        if model is None:
            model, info = AutoModel.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
            unused = ("pooler", "decoder.") if model.config.is_encoder_decoder else ("pooler",)
            check_whole(folder, model, [key for key in info["missing_keys"] if not key.startswith(unused)])
        self.model: PreTrainedModel = model.get_encoder() if model.config.is_encoder_decoder else model
        self.model.to(self.device).eval()
        self.size: int = self.model.config.hidden_size
        self._positions = usable_positions(self.model)

    @torch.no_grad()
    def encode(
        self, texts: Sequence[tuple[str, ...]], progress: Callable[[int, int, float], None] | None = None
    ) -> tuple[NDArray[np.float32], int]:
        """Vectors of texts of one or two segments, (n, d) in the order of `texts`, and how many texts were cut.

        Equal texts are read once. progress: called after each batch with batches done and all batches, and NaN.
        Raises ValueError for a text without tokens, or with more than the model can read.
        """
        different = list(dict.fromkeys(texts))
        encoded = [self._tokens(text, whole=True) for text in different]
        cut = {
            text for text, tokens in zip(different, encoded, strict=True) if len(tokens["input_ids"]) > self.max_tokens
        }
        encoded = [
            self._tokens(text, whole=False) if text in cut else tokens
            for text, tokens in zip(different, encoded, strict=True)
        ]
        if empty := [text for text, tokens in zip(different, encoded, strict=True) if not tokens["input_ids"]]:
            raise ValueError(f"the encoder's tokenizer finds no token in the text {' '.join(empty[0])[:60]!r}; drop it")
        longest = max((len(tokens["input_ids"]) for tokens in encoded), default=0)
        if self._positions is not None and longest > self._positions:
            raise ValueError(
                f"a text has {longest} tokens, but the encoder {self._name} has {self._positions} positions for a "
                "text; lower max_tokens to them"
            )
        # the sums of a batch depend on its padding, so that batches follow from the texts alone
        order = sorted(range(len(different)), key=lambda index: (len(encoded[index]["input_ids"]), different[index]))
        vectors = np.empty((len(different), self.size), dtype=np.float32)
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        for number, batch in enumerate(batches, start=1):
            padded = self.tokenizer.pad([encoded[index] for index in batch], return_tensors="pt").to(self.device)
            states = self.model(**padded).last_hidden_state.float()
            mask = padded["attention_mask"][:, :, None]
            mean = (states * mask).sum(1) / mask.sum(1)
            vectors[batch] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
            if progress:
                progress(number, len(batches), float("nan"))
        place = {text: index for index, text in enumerate(different)}
        return vectors[[place[text] for text in texts]], sum(text in cut for text in texts)

    def _tokens(self, text: tuple[str, ...], *, whole: bool) -> dict[str, list[int]]:
        how = {} if whole else {"truncation": "longest_first", "max_length": self.max_tokens}
        segments = (text[0], *(self._between + segment for segment in text[1:]))
        return dict(self.tokenizer(*segments, verbose=False, **how))
