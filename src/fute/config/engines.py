"""The section `llm.engine`: what runs the LLMs, and how."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from fute.config.sections import Section


class EngineSettings(Section):
    """Settings of one engine. Those of another engine are ignored."""

    engine: Literal["transformers", "vllm", "openai"]
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "bfloat16"
    max_length: int = Field(4096, ge=1, description="tokens of the whole prompt")
    seed: int = Field(42, description="passed on where the engine takes one; all decoding is greedy")
    score: Literal["first_token", "sequence"] = "first_token"
    reasoning_tokens: int = Field(512, ge=1, description="limit of a chain of thought")
    answer_tokens: int = Field(1, ge=1, description="tokens of the greedy answer kept as raw text")
    chat_template: Literal["model", "none"] = "model"

    batch_size: int = Field(32, ge=1, description="transformers")

    tensor_parallel_size: int | None = Field(None, ge=1, description="vllm; None: all GPUs that the job was given")
    enable_prefix_caching: bool = Field(True, description="vllm")
    max_num_seqs: int = Field(64, ge=1, description="vllm: sequences a step")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="vllm")
    enforce_eager: bool = Field(False, description="vllm: true on a CPU")
    quantization: str | None = Field(None, description="vllm")

    base_url: str | None = Field(None, description="openai: up to and with /v1")
    api_model: str | None = Field(None, description="openai: the model's name at the server")
    api_key_env: str = Field("OPENAI_API_KEY", description="openai: variable that holds the key")
    requests_per_minute: int | None = Field(None, ge=1, description="openai")
    max_retries: int = Field(6, ge=0, description="openai")
    timeout_s: float = Field(60, gt=0, description="openai")
    concurrency: int = Field(4, ge=1, description="openai: requests under way at a time")

    def shaping(self) -> dict[str, Any]:
        """The settings that may change a result of this engine, as JSON; how a server is reached is not among them."""
        own = {
            "transformers": {"batch_size"},
            "vllm": {"tensor_parallel_size", "enable_prefix_caching", "max_num_seqs", "enforce_eager", "quantization"},
            "openai": {"api_model"},
        }
        common = {
            "engine",
            "dtype",
            "max_length",
            "seed",
            "score",
            "reasoning_tokens",
            "answer_tokens",
            "chat_template",
        }
        return self.model_dump(include=common | own[self.engine])
