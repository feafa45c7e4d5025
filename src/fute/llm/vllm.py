"""The vLLM engine: offline, in this process, with many prompts per call."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# vLLM reads these when it is imported. One process makes scheduling, and so results, deterministic.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
# FlashInfer compiles these two with nvcc when the engine starts, which most nodes and the images lack: vLLM 0.32 ends
# then. Greedy decoding has no use for the first; the second is for several GPUs of Hopper's kind or newer.
os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
os.environ.setdefault("VLLM_ALLREDUCE_USE_FLASHINFER", "0")

import torch
import transformers
import vllm
from vllm.inputs import TokensPrompt

from fute.config.engines import EngineSettings
from fute.device import compute_device, warn_of_slow_bfloat16
from fute.llm.engine import Perplexity, PromptTokenizer, ScoreRequest, ScoreResult, positions_of, tensor_parallel_size
from fute.llm.scoring import NextToken, TokenIds, score_requests
from fute.tokenizer import own_tokenizer


class VllmEngine:
    """`vllm.LLM` on the weights in `model_path`.

    Prompts are given as token ids from `PromptTokenizer`, so that this engine and the transformers engine get the same.
    vLLM returns the log-probabilities of exactly the wanted tokens (`logprob_token_ids`), without a top-k limit and
    without moving arrays of the size of the vocabulary.
    """

    chunk_size = 1024
    prefers_shared_prefix = True

    def __init__(self, settings: EngineSettings, model_path: Path):
        self.settings = settings
        if torch.version.cuda is None:  # else vLLM says itself what is wrong with a GPU, and sets its precision
            warn_of_slow_bfloat16(getattr(torch, settings.dtype, None), compute_device(), "llm.engine.dtype")
        tokenizer = own_tokenizer(model_path)
        config = transformers.AutoConfig.from_pretrained(model_path, local_files_only=True)
        self.prompts = PromptTokenizer(tokenizer, settings, positions_of(config))
        self._llm = vllm.LLM(
            model=str(model_path),
            dtype=settings.dtype,
            seed=settings.seed,
            max_model_len=self.prompts.limit,
            # of the GPUs that the job was given; on a CPU torch counts none, for any value of CUDA_VISIBLE_DEVICES
            tensor_parallel_size=tensor_parallel_size(config, torch.cuda.device_count()),
            enable_prefix_caching=True,  # prompts begin alike
            max_num_seqs=settings.max_num_seqs,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            enforce_eager=settings.enforce_eager,
            quantization=settings.quantization,
            # In bfloat16, logits of 16 to 32 have steps of 0.125.
            hf_overrides={"head_dtype": "float32"},
        )
        generation = self._llm.model_config.try_get_generation_config()
        self._ends = self.prompts.end_ids(generation.get("eos_token_id"))

    def identity(self) -> dict[str, Any]:
        config = self._llm.llm_engine.vllm_config
        return {
            "engine": "vllm",
            "class": type(self).__name__,
            "versions": {m.__name__: m.__version__ for m in (vllm, torch, transformers)},
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "head_dtype": str(config.model_config.head_dtype).removeprefix("torch."),
            "quantization": config.model_config.quantization,
            "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
            "device": config.device_config.device_type,
            "end_tokens": self._ends,
            **self.prompts.identity(),
        }

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        return score_requests(self, self.prompts, requests, self.settings)

    def next_tokens(self, prompts: list[TokenIds], wanted: list[TokenIds], answer_tokens: int) -> list[NextToken]:
        params = [self._params(answer_tokens, logprob_token_ids=tokens) for tokens in wanted]
        outputs = [output.outputs[0] for output in self._run(prompts, params)]
        return [
            NextToken({t: o.logprobs[0][t].logprob for t in tokens}, list(o.token_ids))
            for o, tokens in zip(outputs, wanted, strict=True)
        ]

    def greedy(self, prompts: list[TokenIds], max_tokens: int) -> list[tuple[TokenIds, bool]]:
        outputs = [output.outputs[0] for output in self._run(prompts, self._params(max_tokens))]
        # vLLM keeps the end token at the end.
        return [
            (tokens, True) if o.finish_reason == "length" else (tokens[:-1], False)
            for o in outputs
            for tokens in [list(o.token_ids)]
        ]

    def perplexity(self, texts: Sequence[tuple[str, str]]) -> list[Perplexity]:
        encoded = self.prompts.encode_plain(texts)
        # Prompt log-probabilities need every position, so vLLM does not use the prefix cache for them.
        outputs = self._run(encoded, self._params(1, prompt_logprobs=0))
        result = []
        for (text_id, _), ids, output in zip(texts, encoded, outputs, strict=True):
            nll = [-output.prompt_logprobs[k][ids[k]].logprob for k in range(1, len(ids))]
            result.append(Perplexity(text_id, sum(nll) / len(nll), len(nll)))
        return result

    def generate(self, prompts: Sequence[tuple[str, str]], max_tokens: int) -> list[str]:
        answers = self.greedy(self.prompts.encode_users(prompts, max_tokens), max_tokens)
        return [self.prompts.decode(tokens) for tokens, _ in answers]

    def close(self) -> None:
        self._llm.llm_engine.engine_core.shutdown()
        del self._llm

    def _params(self, max_tokens: int, **options: Any) -> vllm.SamplingParams:
        return vllm.SamplingParams(
            temperature=0, max_tokens=max_tokens, stop_token_ids=self._ends, detokenize=False, **options
        )

    def _run(self, prompts: list[TokenIds], params: Any) -> list[vllm.RequestOutput]:
        return self._llm.generate([TokensPrompt(prompt_token_ids=p) for p in prompts], params, use_tqdm=False)
