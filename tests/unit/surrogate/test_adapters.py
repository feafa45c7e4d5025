"""LoRA and bias tuning: they start at nothing, do what their parameters say, and give the vector they should."""

import copy

import numpy as np
import pytest
import torch
from support.tunings import (
    check_a_second_training_repeats_the_first,
    examples,
    tiny_surrogate,
)
from torch import Tensor, nn
from transformers import PreTrainedModel

from fute.surrogate.adapters import AdapterTuning
from fute.surrogate.biases import BiasTuning
from fute.surrogate.frozen import FrozenLinear
from fute.surrogate.lora import LoraTuning
from fute.surrogate.text2text import Surrogate, collate, negative_log_likelihood, target_logits

CASES = [("encoder-decoder", None), ("causal", None), ("causal", 2)]
T5_KINDS = ["SelfAttention.q", "SelfAttention.v", "EncDecAttention.q", "EncDecAttention.v"]


def lora(surrogate: Surrogate, layers: int | None = None, seed: int = 3) -> LoraTuning:
    return LoraTuning(surrogate, rank=2, alpha=6, seed=seed, layers=layers)


def bias(surrogate: Surrogate, layers: int | None = None) -> BiasTuning:
    return BiasTuning(surrogate, layers=layers)


BOTH = pytest.mark.parametrize("make", [lora, bias])
EVERYWHERE = pytest.mark.parametrize(("family", "layers"), CASES)


def randomise(tuning: AdapterTuning, scale: float = 0.5) -> None:
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for _, parameter in tuning.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def plain_nll(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    return negative_log_likelihood(*target_logits(model, batch, use_cache=False)).sum(1)


def linears(model: PreTrainedModel, kind: str, layers: int | None) -> list[tuple[nn.Module, str]]:
    """(parent, name) of a kind's linear layers in an untouched model."""
    blocks = model.decoder.block if model.config.is_encoder_decoder else model.model.layers[-(layers or 3) :]
    middle, name = kind.split(".")
    parents = [module for block in blocks for path, module in block.named_modules() if path.split(".")[-1] == middle]
    assert len(parents) == len(blocks)
    return [(parent, name) for parent in parents]


@BOTH
@EVERYWHERE
def test_starts_as_the_plain_surrogate(make, family, layers):
    surrogate = tiny_surrogate(family)
    batch = collate(surrogate, examples())
    plain = plain_nll(surrogate.model, batch)
    tuning = make(surrogate, layers)
    torch.testing.assert_close(tuning.nll(batch), plain, rtol=1e-6, atol=1e-6)
    assert not tuning.embedding().any() and tuning.start_embedding() is None
    assert tuning.has_states == ((family, layers) != ("causal", None))


@EVERYWHERE
def test_lora_equals_merged_weights_and_its_vector_their_mean(family, layers):
    surrogate = tiny_surrogate(family)
    batch, merged = collate(surrogate, examples()), copy.deepcopy(surrogate.model)
    tuning = lora(surrogate, layers)
    randomise(tuning)
    factors, updates = dict(tuning.parameters()), []
    kinds = T5_KINDS if family == "encoder-decoder" else ["self_attn.q_proj", "self_attn.v_proj"]
    for kind in kinds:
        of_kind = []
        for index, (parent, name) in enumerate(linears(merged, kind, layers)):
            a, b = (factors.pop(f"{index}.{kind}.{factor}").detach().numpy() for factor in "AB")
            of_kind.append(6 / 2 * b @ a)
            getattr(parent, name).weight += torch.from_numpy(of_kind[-1])
        updates.append(np.mean(of_kind, 0).ravel())
    assert not factors
    torch.testing.assert_close(tuning.nll(batch), plain_nll(merged, batch), rtol=1e-4, atol=1e-5)
    assert tuning.embedding() == pytest.approx(np.concatenate(updates), abs=1e-5)
    assert tuning.embedding().dtype == np.float32
    ends = np.cumsum([len(update) for update in updates]).tolist()
    assert tuning.segments() == list(zip(kinds, [0, *ends[:-1]], ends, strict=True))


def test_lora_vector_does_not_depend_on_the_factors():
    tuning = lora(tiny_surrogate("encoder-decoder"))
    randomise(tuning)
    batch = collate(tuning.surrogate, examples())
    before, vector = tuning.nll(batch), tuning.embedding()
    mix = torch.tensor([[2.0, 1.0], [0.5, -1.0]])
    with torch.no_grad():
        for name, parameter in tuning.parameters():
            parameter.copy_(mix.inverse() @ parameter if name.endswith("A") else parameter @ mix)
    torch.testing.assert_close(tuning.nll(batch), before, rtol=1e-4, atol=1e-5)
    assert tuning.embedding() == pytest.approx(vector, abs=1e-5)


def test_lora_start_is_pefts_and_seeded():
    starts = []
    for seed, global_seed in ((3, 1), (3, 2), (4, 1)):
        surrogate = tiny_surrogate("encoder-decoder")
        torch.manual_seed(global_seed)
        starts.append(lora(surrogate, seed=seed))
    drawn = torch.cat([a.flatten() for a in starts[0].start])
    # kaiming-uniform with a = sqrt(5): the bound is 1 / sqrt(in)
    assert 0.95 / 4 < drawn.abs().max() <= 1 / 4 and abs(float(drawn.mean())) < 0.02
    assert len(drawn.unique()) == len(drawn)
    factors = [parameter for name, parameter in starts[0].parameters() if name.endswith("A")]
    assert all(map(torch.equal, factors, starts[0].start)), "a new tuning is at its start"
    same, other = starts[1:]
    assert [a.numpy().tobytes() for a in same.start] == [a.numpy().tobytes() for a in starts[0].start]
    assert same.basis() == starts[0].basis()
    assert {key for key, value in other.basis().items() if starts[0].basis()[key] != value} == {"init_sha256"}


@EVERYWHERE
def test_bias_equals_linear_layers_with_a_bias_and_its_vector_their_mean(family, layers):
    surrogate = tiny_surrogate(family)
    batch, model = collate(surrogate, examples()), copy.deepcopy(surrogate.model)
    tuning = bias(surrogate, layers)
    randomise(tuning)
    values, means = {name: parameter.detach() for name, parameter in tuning.parameters()}, []
    if family == "encoder-decoder":
        parts = ("q", "v", "o")
        kinds = [f"{attention}.{part}" for attention in ("SelfAttention", "EncDecAttention") for part in parts]
        kinds += ["DenseReluDense.wi", "DenseReluDense.wo"]
    else:
        kinds = [f"self_attn.{part}_proj" for part in "qkvo"] + [f"mlp.{part}_proj" for part in ("gate", "up", "down")]
    for kind in kinds:
        of_kind = []
        for index, (parent, name) in enumerate(linears(model, kind, layers)):
            old, value = getattr(parent, name), values.pop(f"{index}.{kind}.bias")
            new = nn.Linear(old.in_features, old.out_features, bias=True)
            new.weight, new.bias = old.weight, nn.Parameter(value)
            setattr(parent, name, new)
            of_kind.append(value.numpy())
        means.append(np.mean(of_kind, 0))
    assert not values
    torch.testing.assert_close(tuning.nll(batch), plain_nll(model, batch), rtol=1e-4, atol=1e-5)
    assert tuning.embedding() == pytest.approx(np.concatenate(means), abs=1e-6)
    assert [(name, stop - start) for name, start, stop in tuning.segments()] == [
        (kind, len(mean)) for kind, mean in zip(kinds, means, strict=True)
    ]


def test_a_bias_on_the_keys_of_t5_would_do_nothing():
    surrogate = tiny_surrogate("encoder-decoder")
    batch = collate(surrogate, examples())
    plain = plain_nll(surrogate.model, batch)
    for kind in ("SelfAttention.k", "EncDecAttention.k"):
        for parent, name in linears(surrogate.model, kind, None):
            getattr(parent, name).bias = nn.Parameter(torch.randn(16))
    torch.testing.assert_close(plain_nll(surrogate.model, batch), plain, rtol=1e-5, atol=1e-5)


@BOTH
@EVERYWHERE
def test_gradients_reach_every_entry(make, family, layers):
    tuning = make(tiny_surrogate(family), layers)
    # Small values and many tokens, so that every unit under T5's ReLU is open for one of them.
    randomise(tuning, 0.05)
    for seed in range(6):
        tuning.nll(collate(tuning.surrogate, examples([(9, 5)] * 20, seed))).sum().backward()
    for name, parameter in tuning.parameters():
        assert (parameter.grad != 0).all(), name
    trained = {id(parameter) for _, parameter in tuning.parameters()}
    for name, parameter in tuning.surrogate.model.named_parameters():
        assert id(parameter) in trained or (parameter.grad is None and not parameter.requires_grad), name


@BOTH
@EVERYWHERE
def test_padding_and_neighbours_change_nothing(make, family, layers):
    tuning, batch = make(tiny_surrogate(family), layers), examples()
    randomise(tuning)
    together = tuning.nll(collate(tuning.surrogate, batch))
    apart = torch.cat([tuning.nll(collate(tuning.surrogate, [example])) for example in batch])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


@BOTH
@EVERYWHERE
def test_a_second_training_repeats_the_first(make, family, layers):
    check_a_second_training_repeats_the_first(make(tiny_surrogate(family), layers))


@BOTH
@EVERYWHERE
def test_a_bf16_surrogate_trains_fp32_parameters(make, family, layers):
    surrogate = tiny_surrogate(family, dtype=torch.bfloat16)
    tuning, whole = make(surrogate, layers), make(tiny_surrogate(family), layers)
    assert any(isinstance(module, FrozenLinear) for module in tuning.model.modules())
    randomise(tuning)
    randomise(whole)
    batch = collate(surrogate, examples())
    losses = tuning.nll(batch)
    losses.sum().backward()
    torch.testing.assert_close(losses, whole.nll(batch), rtol=0.05, atol=0.1)
    for name, parameter in tuning.parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32 and parameter.grad.any(), name


@BOTH
def test_making_one_leaves_the_random_stream(make):
    surrogate = tiny_surrogate("causal")
    torch.manual_seed(6)
    before = torch.get_rng_state()
    make(surrogate)
    assert torch.equal(torch.get_rng_state(), before)


@BOTH
def test_biases_alone_are_left_out_of_weight_decay(make):
    tuning = make(tiny_surrogate("causal"))
    assert {parameter.ndim for _, parameter in tuning.parameters()} == {1 if make is bias else 2}


@BOTH
def test_what_does_not_fit_is_refused(make):
    tuning = make(tiny_surrogate("causal"))
    with pytest.raises(ValueError, match="no dropout"):
        tuning.nll(collate(tuning.surrogate, examples()), dropout=0.1)
    with pytest.raises(ValueError, match="causal"):
        make(tiny_surrogate("encoder-decoder"), 2)
    trainable = tiny_surrogate("causal")
    trainable.frozen = False
    with pytest.raises(ValueError, match="frozen"):
        make(trainable)


def test_scope_and_targets_are_in_the_basis():
    basis = lora(tiny_surrogate("encoder-decoder")).basis()
    assert basis["scope"] == "decoder" and basis["targets"] == {kind: [16, 16] for kind in T5_KINDS}
    assert (basis["rank"], basis["alpha"]) == (2, 6)
    assert bias(tiny_surrogate("causal"), 2).basis()["scope"] == "last_2_layers"
    assert bias(tiny_surrogate("causal")).basis()["targets"]["mlp.up_proj"] == [24]
