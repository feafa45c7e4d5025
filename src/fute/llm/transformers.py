"""The transformers engine: plain PyTorch, for CPUs and small models, and as the reference for vLLM."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from torch.nn.functional import cross_entropy, linear, log_softmax

from fute.config.engines import EngineSettings
from fute.device import compute_device, warn_of_slow_bfloat16
from fute.llm.causal import check_causal
from fute.llm.engine import Perplexity, PromptTokenizer, ScoreRequest, ScoreResult, positions_of
from fute.llm.scoring import NextToken, TokenIds, score_requests
from fute.pretrained import check_whole
from fute.tokenizer import own_tokenizer

# Limit for a perplexity batch, because it holds the logits of every position: positions x vocabulary numbers.
PERPLEXITY_POSITIONS = 4096


class Float32Head(nn.Module):
    """The model's output layer in fp32, because in bfloat16 logits of 16 to 32 have steps of 0.125."""

    def __init__(self, head: nn.Linear):
        super().__init__()
        self.register_buffer("weight", head.weight.detach().float())
        self.register_buffer("bias", None if head.bias is None else head.bias.detach().float())

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return linear(hidden.float(), self.weight, self.bias)


class TransformersEngine:
    """`AutoModelForCausalLM` on the weights in `model_path`, on the GPU if there is one.

    Rows of similar length share a batch. Padding is on the left and masked, and positions count from the first real
    token, so the other rows of a batch change a row's numbers by rounding only.
    """

    prefers_shared_prefix = False

    def __init__(self, settings: EngineSettings, model_path: Path):
        self.settings = settings
        self.chunk_size = settings.batch_size
        tokenizer = own_tokenizer(model_path)
        dtype = settings.dtype if settings.dtype == "auto" else getattr(torch, settings.dtype)
        check_causal(model_path)
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            model_path, dtype=dtype, local_files_only=True, output_loading_info=True
        )
        check_whole(model_path, model, info["missing_keys"])
        self._dtype = str(model.dtype).removeprefix("torch.")
        model.set_output_embeddings(Float32Head(model.get_output_embeddings()))
        self.model = model.eval().to(compute_device())
        warn_of_slow_bfloat16(model.dtype, model.device, "llm.engine.dtype")
        self.prompts = PromptTokenizer(tokenizer, settings, positions_of(model.config))
        self._ends = self.prompts.end_ids(model.generation_config.eos_token_id)
        self._pad = self._ends[0] if self._ends else 0
        # The model's own generation settings may contain sampling and repetition penalties; greedy answers use none.
        self.model.generation_config = transformers.GenerationConfig(
            do_sample=False, eos_token_id=self._ends or None, pad_token_id=self._pad
        )

    def identity(self) -> dict[str, Any]:
        return {
            "engine": "transformers",
            "class": type(self).__name__,
            "versions": {m.__name__: m.__version__ for m in (torch, transformers)},
            "dtype": self._dtype,
            "head_dtype": "float32",
            "attention": self.model.config._attn_implementation,
            "device": self.model.device.type,
            "end_tokens": self._ends,
            **self.prompts.identity(),
        }

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        return score_requests(self, self.prompts, requests, self.settings)

    @torch.inference_mode()
    def next_tokens(self, prompts: list[TokenIds], wanted: list[TokenIds], answer_tokens: int) -> list[NextToken]:
        result: dict[int, NextToken] = {}
        for rows in self._batches(prompts, self.settings.batch_size):
            ids, mask = self._padded([prompts[i] for i in rows])
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            output = self.model(ids, attention_mask=mask, position_ids=positions, logits_to_keep=1, use_cache=False)
            logprobs = log_softmax(output.logits[:, -1], dim=-1)
            tops = logprobs.argmax(-1).tolist()
            for i, row, top in zip(rows, logprobs, tops, strict=True):
                values = row[wanted[i]].tolist()
                result[i] = NextToken(dict(zip(wanted[i], values, strict=True)), [top])
        if answer_tokens > 1:
            # A second prefill, needed only if raw answers are kept.
            for i, (answer, _) in enumerate(self.greedy(prompts, answer_tokens)):
                result[i] = NextToken(result[i].logprobs, result[i].answer + answer[1:])
        return [result[i] for i in range(len(prompts))]

    @torch.inference_mode()
    def greedy(self, prompts: list[TokenIds], max_tokens: int) -> list[tuple[TokenIds, bool]]:
        result: dict[int, tuple[TokenIds, bool]] = {}
        for rows in self._batches(prompts, self.settings.batch_size):
            ids, mask = self._padded([prompts[i] for i in rows])
            output = self.model.generate(ids, attention_mask=mask, max_new_tokens=max_tokens)
            for i, new in zip(rows, output[:, ids.shape[1] :].tolist(), strict=True):
                end = next((k for k, token in enumerate(new) if token in self._ends), None)
                result[i] = (new[:end], end is None)
        return [result[i] for i in range(len(prompts))]

    @torch.inference_mode()
    def perplexity(self, texts: Sequence[tuple[str, str]]) -> list[Perplexity]:
        encoded = self.prompts.encode_plain(texts)
        result: dict[int, Perplexity] = {}
        for rows in self._batches(encoded, self.settings.batch_size, PERPLEXITY_POSITIONS):
            ids, mask = self._padded([encoded[i] for i in rows])
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            logits = self.model(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
            for i, row in zip(rows, logits, strict=True):
                targets = torch.tensor(encoded[i][1:], device=row.device)
                nll = cross_entropy(row[-len(targets) - 1 : -1], targets)
                result[i] = Perplexity(texts[i][0], nll.item(), len(targets))
        return [result[i] for i in range(len(texts))]

    def generate(self, prompts: Sequence[tuple[str, str]], max_tokens: int) -> list[str]:
        answers = self.greedy(self.prompts.encode_users(prompts, max_tokens), max_tokens)
        return [self.prompts.decode(tokens) for tokens, _ in answers]

    def close(self) -> None:
        del self.model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _batches(self, prompts: Sequence[TokenIds], size: int, positions: int | None = None) -> Iterator[list[int]]:
        """Row numbers by falling length, so that a memory error comes early. positions: limit for a batch."""
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        while order:
            fit = size if positions is None else min(size, max(1, positions // len(prompts[order[0]])))
            yield order[:fit]
            order = order[fit:]

    def _padded(self, rows: list[TokenIds]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask, (rows, longest), padded on the left."""
        width = max(map(len, rows))
        ids = torch.tensor([[self._pad] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        return ids.to(self.model.device), mask.to(self.model.device)
