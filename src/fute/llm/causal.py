"""Which models can be asked prompts: those that continue a text."""

from __future__ import annotations

from pathlib import Path

from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from fute.llm.engine import EngineError


def check_causal(folder: Path) -> None:
    """Raise EngineError for a folder of an encoder, or of an encoder with a decoder, such as BERT or T5.

    A type that transformers does not know is not judged, and no code of the folder runs.
    """
    given, _ = PreTrainedConfig.get_config_dict(folder, local_files_only=True)
    kind = given.get("model_type")
    if kind not in CONFIG_MAPPING:
        return
    config = CONFIG_MAPPING[kind].from_dict(given)
    masked = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    if config.is_encoder_decoder or masked:
        raise EngineError(
            f"{folder}: a model of type {kind} does not continue a text, so it cannot be asked prompts: name a causal "
            "LLM"
        )
