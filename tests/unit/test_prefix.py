"""Deep prefixes: their start, how they enter a model, and what they must not change."""

import math

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from fute.surrogate.prefix import (
    FrozenLinear,
    KeptStates,
    PrefixedSurrogate,
    PrefixShape,
    initial_prefix,
    speed_up_frozen,
)
from fute.surrogate.text2text import Example, Surrogate, SurrogateSettings, collate

VOCABULARY = 31


class NoTokenizer:
    """Stand-in: `collate` asks a tokenizer for two ids only."""

    pad_token_id, eos_token_id = 0, 1


def tiny_surrogate(family: str) -> Surrogate:
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
            num_layers=2,
            num_decoder_layers=3,
            num_heads=4,
            decoder_start_token_id=0,
        )
        model = T5ForConditionalGeneration(config)
    settings = SurrogateSettings(family=family, max_input_tokens=32)
    return Surrogate(model.eval().requires_grad_(False), NoTokenizer(), settings, frozen=True)


def examples(lengths=((9, 3), (4, 1), (6, 2)), seed: int = 1) -> list[Example]:
    generator = torch.Generator().manual_seed(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(2, VOCABULARY, (n,), generator=generator).tolist())

    return [Example(i, ids(n), ids(m), False, False) for i, (n, m) in enumerate(lengths)]


def random_prefix(surrogate: Surrogate, length: int = 5) -> torch.Tensor:
    shape = PrefixShape.of(surrogate.model.config)
    return initial_prefix(shape, length=length, seed=3) * 20


FAMILIES = ("causal", "encoder-decoder")


def test_shapes_come_from_the_config():
    assert PrefixShape.of(tiny_surrogate("causal").model.config) == PrefixShape(3, 2, 4)
    assert PrefixShape.of(tiny_surrogate("encoder-decoder").model.config) == PrefixShape(3, 4, 4)


def test_start_is_torch_xavier_of_each_layer_and_seeded():
    shape = PrefixShape(layers=4, heads=12, head_dim=64)
    start = initial_prefix(shape, length=16, seed=7)
    assert start.shape == (4, 2, 12, 16, 64) and start.dtype == torch.float32
    theirs = nn.init.xavier_uniform_(torch.empty(2, 12, 16, 64))
    bound = math.sqrt(6 / (12 * 16 * 64 + 2 * 16 * 64))
    assert theirs.abs().max() <= bound < theirs.abs().max() * 1.001
    assert start.abs().max() <= bound < start.abs().max() * 1.001
    assert start.std() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert abs(float(start.mean())) < bound / 100
    torch.manual_seed(99)
    assert initial_prefix(shape, length=16, seed=7).numpy().tobytes() == start.numpy().tobytes()
    assert not torch.equal(initial_prefix(shape, length=16, seed=8), start)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_entry(family):
    surrogate = tiny_surrogate(family)
    prefix = nn.Parameter(random_prefix(surrogate))
    PrefixedSurrogate(surrogate).nll(prefix, collate(surrogate, examples())).sum().backward()
    assert (prefix.grad != 0).all()
    assert all(p.grad is None for p in surrogate.model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(family):
    surrogate = tiny_surrogate(family)
    prefixed, prefix, batch = PrefixedSurrogate(surrogate), random_prefix(surrogate), examples()
    together = prefixed.nll(prefix, collate(surrogate, batch))
    apart = torch.cat([prefixed.nll(prefix, collate(surrogate, [example])) for example in batch])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_target_token_sees_only_what_is_before_it(family):
    """-log P of y_1 is the same whatever y_2 is; that of y_2 changes with y_1."""
    surrogate = tiny_surrogate(family)
    prefixed, prefix = PrefixedSurrogate(surrogate), random_prefix(surrogate)

    def nll(*target: int) -> float:
        example = Example(0, (5, 6, 7), target, False, False)
        return float(prefixed.nll(prefix, collate(surrogate, [example])))

    for later in range(2, VOCABULARY):
        assert nll(4, later) > nll(4)
    # Sum over all second tokens of P(y_2 given y_1) is 1 only if y_1's own probability is unchanged by them.
    total = sum(math.exp(nll(4) - nll(4, later)) for later in range(VOCABULARY))
    assert total == pytest.approx(1, abs=1e-4)
    assert nll(4, 9) - nll(4) != pytest.approx(nll(5, 9) - nll(5), rel=1e-3)


def test_causal_prefix_of_real_keys_equals_reading_the_text():
    """A prefix made of a text's own (rotated) keys and values acts as that text before x."""
    surrogate = tiny_surrogate("causal")
    head, example = (3, 8, 4, 9), Example(0, (5, 6, 7), (10, 1), False, False)
    with torch.no_grad():
        cache = surrogate.model(torch.tensor([head]), use_cache=True).past_key_values
        prefix = torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers])
        found = PrefixedSurrogate(surrogate).nll(prefix, collate(surrogate, [example]))
        whole = torch.tensor([[*head, *example.input_ids, *example.target_ids]])
        chances = surrogate.model(whole).logits[0].log_softmax(-1)
    expected = -(chances[6, 10] + chances[7, 1])
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-5)


def test_decoder_prefix_of_real_keys_equals_reading_the_text():
    """The same for T5: the decoder's own keys and values of earlier target tokens."""
    surrogate = tiny_surrogate("encoder-decoder")
    text = torch.tensor([[5, 6, 7, 1]])
    with torch.no_grad():
        earlier = torch.tensor([[0, 4, 9]])
        cache = surrogate.model(text, decoder_input_ids=earlier, use_cache=True).past_key_values
        layers = cache.self_attention_cache.layers
        prefix = torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in layers])
        example = Example(0, tuple(text[0].tolist()), (10, 1), False, False)
        found = PrefixedSurrogate(surrogate).nll(prefix, collate(surrogate, [example]))
        decoder_ids = torch.tensor([[0, 4, 9, 0, 10]])
        chances = surrogate.model(text, decoder_input_ids=decoder_ids).logits[0].log_softmax(-1)
    expected = -(chances[3, 10] + chances[4, 1])
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-5)


def plain_llama(model: LlamaForCausalLM, ids: list[int], prefix: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (S, V) of one sequence, from the formulas; the prefix stands in the last layers."""
    config, base, length = model.config, model.model, prefix.shape[3]
    groups = config.num_attention_heads // config.num_key_value_heads
    x = base.embed_tokens(torch.tensor(ids))
    cos, sin = (part[0] for part in base.rotary_emb(x[None], torch.arange(length, length + len(ids))[None]))

    def heads(states: torch.Tensor, rotated: bool) -> torch.Tensor:
        split = states.view(len(ids), -1, config.head_dim).transpose(0, 1)
        a, b = split.chunk(2, -1)
        return split * cos + torch.cat((-b, a), -1) * sin if rotated else split

    causal = torch.ones(len(ids), len(ids)).tril().bool()
    for index, layer in enumerate(base.layers):
        own = index - (len(base.layers) - len(prefix))
        normed, attention = layer.input_layernorm(x), layer.self_attn
        query = heads(attention.q_proj(normed), True)
        key, value = heads(attention.k_proj(normed), True), heads(attention.v_proj(normed), False)
        seen = causal
        if own >= 0:
            key, value = torch.cat((prefix[own, 0], key), 1), torch.cat((prefix[own, 1], value), 1)
            seen = torch.cat((torch.ones(len(ids), length).bool(), causal), 1)
        key, value = key.repeat_interleave(groups, 0), value.repeat_interleave(groups, 0)
        scores = (query @ key.transpose(1, 2) / math.sqrt(config.head_dim)).masked_fill(~seen, -math.inf)
        x = x + attention.o_proj((scores.softmax(-1) @ value).transpose(0, 1).flatten(1))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return model.lm_head(base.norm(x)).log_softmax(-1)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kept", [False, True])
def test_prefix_in_the_last_layers_equals_the_formulas(layers, kept):
    surrogate, batch = tiny_surrogate("causal"), examples()
    prefix = random_prefix(surrogate)[-layers:]
    with torch.no_grad():
        expected = []
        for example in batch:
            ids, n = [*example.input_ids, *example.target_ids], len(example.input_ids)
            chances = plain_llama(surrogate.model, ids, prefix)
            expected.append(-sum(chances[n - 1 + k, y] for k, y in enumerate(example.target_ids)))
        prefixed = PrefixedSurrogate(surrogate, layers)
        inputs = KeptStates(prefixed, batch, 2).batch(batch) if kept else collate(surrogate, batch)
        torch.testing.assert_close(prefixed.nll(prefix, inputs), torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_last_layers_must_fit():
    config = tiny_surrogate("causal").model.config
    assert PrefixShape.of(config, 2) == PrefixShape(2, 2, 4)
    with pytest.raises(ValueError, match="does not fit 3 layers"):
        PrefixShape.of(config, 4)
    with pytest.raises(ValueError, match="causal"):
        PrefixShape.of(tiny_surrogate("encoder-decoder").model.config, 2)


@pytest.mark.parametrize(("family", "layers"), [("encoder-decoder", None), ("causal", 2)])
def test_kept_states_give_the_same_loss_and_gradient(family, layers):
    surrogate = tiny_surrogate(family)
    prefixed, batch = PrefixedSurrogate(surrogate, layers), examples()
    kept = KeptStates(prefixed, batch, batch_size=2)
    results = []
    for inputs in (collate(surrogate, batch[1:]), kept.batch(batch[1:])):
        prefix = nn.Parameter(random_prefix(surrogate)[-(layers or 3) :])
        loss = prefixed.nll(prefix, inputs)
        loss.sum().backward()
        results.append((loss.detach(), prefix.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert (results[0][1] != 0).all()


@pytest.mark.parametrize(("family", "layers"), [("encoder-decoder", None), ("causal", 2)])
def test_what_lies_below_the_prefix_runs_once_a_list(family, layers):
    surrogate = tiny_surrogate(family)
    calls = []
    prefixed = PrefixedSurrogate(surrogate, layers)
    below = surrogate.model.encoder if layers is None else surrogate.model.model.layers[0]
    below.register_forward_hook(lambda *args: calls.append(1))
    kept = KeptStates(prefixed, examples(), batch_size=2)
    assert len(calls) == 2
    for _ in range(3):
        prefixed.nll(random_prefix(surrogate)[-(layers or 3) :], kept.batch(examples()))
    assert len(calls) == 2


@pytest.mark.parametrize("bias", [True, False])
def test_frozen_linear_equals_linear(bias):
    torch.manual_seed(0)
    linear = nn.Linear(6, 4, bias=bias).requires_grad_(False)
    x = torch.randn(2, 3, 6)
    results = []
    for layer in (linear, FrozenLinear(linear)):
        inputs = x.clone().requires_grad_()
        output = layer(inputs)
        output.square().sum().backward()
        results.append((output.detach(), inputs.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("family", FAMILIES)
def test_speed_up_changes_no_loss(family):
    surrogate = tiny_surrogate(family)
    prefixed, prefix, batch = PrefixedSurrogate(surrogate), random_prefix(surrogate), examples()
    before = prefixed.nll(prefix, collate(surrogate, batch))
    speed_up_frozen(surrogate.model)
    assert not any(type(module) is nn.Linear for module in surrogate.model.modules())
    torch.testing.assert_close(prefixed.nll(prefix, collate(surrogate, batch)), before)


def test_a_trainable_surrogate_is_refused():
    surrogate = tiny_surrogate("causal")
    surrogate.frozen = False
    with pytest.raises(ValueError, match="frozen"):
        PrefixedSurrogate(surrogate)
