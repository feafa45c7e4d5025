"""What the tests of all tunings share: tiny random surrogates, examples, and checks of the interface."""

from importlib import import_module

import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from fute.config.methods import TunedSettings, method_module
from fute.config.surrogate import SurrogateSettings
from fute.surrogate.prefix import PARTS, PrefixShape, PrefixTuning, initial_prefix
from fute.surrogate.text2text import Batch, Example, Surrogate, collate
from fute.surrogate.training import train
from fute.surrogate.tuning import Tuning

VOCABULARY = 31


class NoTokenizer:
    """Stand-in: `collate` asks a tokenizer for two ids only."""

    pad_token_id, eos_token_id = 0, 1


def tiny_surrogate(family: str, *, encoder_layers: int = 3, dtype: torch.dtype = torch.float32) -> Surrogate:
    torch.manual_seed(0)
    if family == "causal":
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.4,
            tie_word_embeddings=True,
        )
        model = LlamaForCausalLM(config)
    else:
        config = T5Config(
            vocab_size=VOCABULARY,
            d_model=16,
            d_kv=4,
            d_ff=24,
            num_layers=encoder_layers,
            num_decoder_layers=3,
            num_heads=4,
            decoder_start_token_id=0,
        )
        model = T5ForConditionalGeneration(config)
    settings = SurrogateSettings(family=family, max_input_tokens=32)
    return Surrogate(model.to(dtype).eval().requires_grad_(False), NoTokenizer(), settings, frozen=True)


def examples(lengths=((9, 3), (4, 1), (6, 2)), seed: int = 1) -> list[Example]:
    generator = torch.Generator().manual_seed(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(2, VOCABULARY, (n,), generator=generator).tolist())

    return [Example(i, ids(n), ids(m), False, False) for i, (n, m) in enumerate(lengths)]


def with_states(tuning: Tuning, batch: Batch) -> Batch:
    """A collated batch as it comes from kept states."""
    kept = {name: tensor for name, tensor in batch.items() if name != "input_ids"}
    return kept | {"states": tuning.states(batch)}


def check_a_second_training_repeats_the_first(tuning: Tuning, dropout: float = 0.0) -> None:
    found = []
    for _ in range(2):
        tuning.restart()
        start = tuning.embedding()
        train(
            lambda batch: tuning.nll(collate(tuning.surrogate, batch), dropout),
            tuning.parameters(),
            examples(),
            epochs=3,
            batch_size=2,
            learning_rate=0.05,
            order_seed=5,
        )
        found.append(tuning.embedding())
        assert (found[-1] != start).all()
    assert found[0].tobytes() == found[1].tobytes()


def prefix_tuning(surrogate: Surrogate, scope: str = "decoder_self", layers: int | None = None) -> PrefixTuning:
    """With a start so large that it matters."""
    shape = PrefixShape.of(surrogate.model.config, layers, scope)
    return PrefixTuning(surrogate, initial_prefix(shape, length=5, seed=3) * 20, scope=scope, layers=layers)


FAMILIES = ("causal", "encoder-decoder")
CASES = [("causal", "decoder_self"), *(("encoder-decoder", scope) for scope in PARTS)]
WIDE = ("encoder_decoder", "all")


def tuning_of(surrogate: Surrogate, recipe: TunedSettings) -> Tuning:
    """What a recipe trains on a frozen surrogate, at its start."""
    return import_module(method_module(recipe.method)).method(surrogate, recipe, None).tuning
