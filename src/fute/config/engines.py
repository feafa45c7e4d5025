"""The section `llm.engine`: what runs the LLMs, and how."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from fute.config.sections import Section

# fields of a request that decide what is asked and read; extra_body cannot change them
OWN_FIELDS = {
    *("messages", "prompt", "model", "logprobs", "top_logprobs", "echo", "stream", "n"),
    *("seed", "max_tokens", "max_completion_tokens"),
    *("prompt_logprobs", "add_generation_prompt", "continue_final_message"),
}


class EngineSettings(Section):
    """What runs the LLMs, and how. Keys of another engine than the chosen one are ignored."""

    engine: Literal["transformers", "vllm", "openai"] = Field(
        description="`vllm`: on GPUs. `transformers`: anywhere, slower. `openai`: any server with OpenAI's protocol."
    )
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "bfloat16", description="Number format of the weights (`transformers`, `vllm`). `auto`: the model's own."
    )
    max_length: int = Field(4096, ge=1, description="Most tokens of a prompt; see `long_texts`.")
    seed: int | None = Field(
        42,
        description="Seed, where the engine takes one. All decoding is greedy. `null`: none is sent to a server "
        "(`openai` only).",
    )
    score: Literal["first_token", "sequence"] = Field(
        "first_token",
        description="Where class scores are read: at the first token of each verbalizer, or over all its tokens "
        "(for verbalizers that share a first token). A server (`openai`) must be vLLM for that, and gets one request "
        "more per word.",
    )
    reasoning_tokens: int = Field(512, ge=1, description="Most tokens of a chain of thought. A longer one is cut.")
    answer_tokens: int = Field(1, ge=1, description="Tokens of the greedy answer that are kept as raw text.")
    chat_template: Literal["model", "none"] = Field(
        "model", description="`model`: the model's own chat template. `none`: plain text, for base models."
    )

    batch_size: int = Field(32, ge=1, description="Texts in one batch (`transformers`).")

    max_num_seqs: int = Field(64, ge=1, description="Most texts computed in one step (`vllm`).")
    gpu_memory_utilization: float = Field(
        0.9, gt=0, le=1, description="Share of the GPU's memory that the engine may take (`vllm`)."
    )
    enforce_eager: bool = Field(
        False, description="Run without compiled graphs (`vllm`): slower, starts sooner. Set it to `true` on a CPU."
    )
    quantization: str | None = Field(
        None, description="vLLM's name of the weights' quantization, such as `awq` (`vllm`). `null`: the model's own."
    )

    base_url: str | None = Field(None, description="The server's address, up to and with `/v1` (`openai`).")
    api_model: str | None = Field(None, description="The model's name at the server (`openai`).")
    api_key_env: str = Field(
        "OPENAI_API_KEY", description="The environment variable that holds the server's key (`openai`)."
    )
    requests_per_minute: int | None = Field(
        None, ge=1, description="Most requests sent in a minute (`openai`). `null`: no limit."
    )
    top_logprobs: int = Field(
        20,
        ge=1,
        description="Likeliest tokens that are asked of the server, with their log-probabilities (`openai`). Many "
        "servers give fewer than 20.",
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="What the server calls the number of tokens to generate (`openai`)."
    )
    extra_body: dict[str, Any] = Field(
        {},
        description="More fields of every request, as the server takes them (`openai`), such as "
        "`{chat_template_kwargs: {enable_thinking: false}}`, which switches a reasoning model's thinking off at vLLM.",
    )
    max_retries: int = Field(6, ge=0, description="How often a failed request is sent again (`openai`).")
    longest_wait_s: float = Field(
        60, gt=0, le=86400, description="Most seconds between two tries, even if the server asks for more (`openai`)."
    )
    timeout_s: float = Field(60, gt=0, description="Seconds to wait for an answer (`openai`).")
    concurrency: int = Field(4, ge=1, description="Requests under way at a time (`openai`).")

    @field_validator("extra_body")
    @classmethod
    def _leaves_own_fields(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if own := sorted(OWN_FIELDS & set(extra)):
            raise ValueError(
                f"{', '.join(own)}: set by the engine; there are the keys top_logprobs, seed, "
                "max_tokens_field and answer_tokens"
            )
        try:
            json.dumps(extra, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"cannot be written as JSON: {error}") from None
        return extra

    @model_validator(mode="after")
    def _fits_engine(self) -> EngineSettings:
        if self.seed is None and self.engine != "openai":
            raise ValueError(f"seed: null is for engine openai; engine {self.engine} needs a number")
        return self

    def shaping(self) -> dict[str, Any]:
        """The settings that may change a result of this engine, as JSON; how a server is reached is not among them."""
        own = {
            "transformers": {"dtype", "batch_size"},
            "vllm": {"dtype", "max_num_seqs", "enforce_eager", "quantization"},
            "openai": {"api_model", "top_logprobs", "extra_body"},
        }
        common = {
            "engine",
            "max_length",
            "seed",
            "score",
            "reasoning_tokens",
            "answer_tokens",
            "chat_template",
        }
        return self.model_dump(include=common | own[self.engine])
