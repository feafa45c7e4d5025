"""Deep prefixes: their start, how they enter a model, and what they must not change."""

import copy
import math

import pytest
import torch
from support.tunings import (
    CASES,
    FAMILIES,
    VOCABULARY,
    WIDE,
    check_a_second_training_repeats_the_first,
    examples,
    prefix_tuning,
    tiny_surrogate,
    with_states,
)
from torch import nn
from transformers import LlamaForCausalLM, T5Config

from fute.surrogate.dropout import drop_per_example, set_dropout
from fute.surrogate.frozen import FrozenLinear, speed_up_frozen
from fute.surrogate.prefix import PrefixShape, PrefixTuning, initial_prefix
from fute.surrogate.text2text import Example, collate, target_logits


def test_shapes_come_from_the_config():
    causal, t5 = (tiny_surrogate(family).model.config for family in FAMILIES)
    assert PrefixShape.of(causal) == PrefixShape(3, 2, 2, 4, authors_tensors=2)
    for scope, tensors in {"decoder_self": 2, "encoder_decoder": 4, "all": 6}.items():
        assert PrefixShape.of(t5, scope=scope) == PrefixShape(3, tensors, 4, 4, authors_tensors=4)


@pytest.mark.parametrize(("scope", "tensors"), [("decoder_self", 2), ("encoder_decoder", 4), ("all", 6)])
def test_start_has_the_authors_bound_in_every_scope_and_is_seeded(scope, tensors):
    config = T5Config(d_model=768, num_layers=12, num_heads=12)
    shape = PrefixShape.of(config, scope=scope)
    start = initial_prefix(shape, length=16, seed=7)
    assert start.shape == (12, tensors, 12, 16, 64) and start.dtype == torch.float32
    assert start[0].numel() == {2: 24_576, 4: 49_152, 6: 73_728}[tensors]
    theirs = nn.init.xavier_uniform_(torch.empty(4, 12, 16, 64))
    bound = math.sqrt(6 / 16384)
    assert theirs.abs().max() <= bound < theirs.abs().max() * 1.001
    assert start.abs().max() <= bound < start.abs().max() * 1.001
    assert start.std() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert abs(float(start.mean())) < bound / 100
    torch.manual_seed(99)
    assert initial_prefix(shape, length=16, seed=7).numpy().tobytes() == start.numpy().tobytes()
    assert not torch.equal(initial_prefix(shape, length=16, seed=8), start)


def test_causal_start_is_torch_xavier_of_each_layer():
    start = initial_prefix(PrefixShape(4, 2, 12, 64, authors_tensors=2), length=16, seed=7)
    bound = float(nn.init.xavier_uniform_(torch.empty(2, 12, 16, 64)).abs().max())
    assert start.abs().max() == pytest.approx(bound, rel=1e-3)


@pytest.mark.parametrize(("family", "scope"), CASES)
def test_gradients_reach_every_entry(family, scope):
    tuning = prefix_tuning(tiny_surrogate(family), scope)
    tuning.nll(collate(tuning.surrogate, examples())).sum().backward()
    assert (tuning.prefix.grad != 0).all()
    assert all(p.grad is None for p in tuning.surrogate.model.parameters())


@pytest.mark.parametrize(("family", "scope"), CASES)
def test_padding_and_neighbours_change_nothing(family, scope):
    tuning, batch = prefix_tuning(tiny_surrogate(family), scope), examples()
    together = tuning.nll(collate(tuning.surrogate, batch))
    apart = torch.cat([tuning.nll(collate(tuning.surrogate, [example])) for example in batch])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("family", "scope"), CASES)
def test_a_target_token_sees_only_what_is_before_it(family, scope):
    """-log P of y_1 is the same whatever y_2 is; that of y_2 changes with y_1."""
    tuning = prefix_tuning(tiny_surrogate(family), scope)

    def nll(*target: int) -> float:
        example = Example(0, (5, 6, 7), target, False, False)
        return float(tuning.nll(collate(tuning.surrogate, [example])).detach())

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
        found = PrefixTuning(surrogate, prefix).nll(collate(surrogate, [example]))
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
        found = PrefixTuning(surrogate, prefix).nll(collate(surrogate, [example]))
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
    tuning = prefix_tuning(surrogate, layers=layers)
    with torch.no_grad():
        expected = []
        for example in batch:
            ids, n = [*example.input_ids, *example.target_ids], len(example.input_ids)
            chances = plain_llama(surrogate.model, ids, tuning.prefix)
            expected.append(-sum(chances[n - 1 + k, y] for k, y in enumerate(example.target_ids)))
        inputs = collate(surrogate, batch)
        found = tuning.nll(with_states(tuning, inputs) if kept else inputs)
        torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_last_layers_must_fit():
    config = tiny_surrogate("causal").model.config
    assert PrefixShape.of(config, 2).layers == 2
    with pytest.raises(ValueError, match="do not fit a model of 3 layers"):
        PrefixShape.of(config, 4)
    with pytest.raises(ValueError, match="causal"):
        PrefixShape.of(tiny_surrogate("encoder-decoder").model.config, 2)


@pytest.mark.parametrize("scope", WIDE)
def test_scopes_must_fit(scope):
    with pytest.raises(ValueError, match="2 encoder and 3 decoder layers"):
        PrefixShape.of(tiny_surrogate("encoder-decoder", encoder_layers=2).model.config, scope=scope)
    with pytest.raises(ValueError, match="causal"):
        PrefixShape.of(tiny_surrogate("causal").model.config, scope=scope)


def test_a_start_of_another_scope_is_refused():
    surrogate = tiny_surrogate("encoder-decoder")
    start = initial_prefix(PrefixShape.of(surrogate.model.config, scope="all"), length=5, seed=3)
    with pytest.raises(ValueError, match=r"\(3, 6, 4, 5, 4\), but .* needs \(3, 2, 4, 5, 4\)"):
        PrefixTuning(surrogate, start)


@pytest.mark.parametrize(("family", "scope"), [("causal", "decoder_self"), *(("encoder-decoder", s) for s in WIDE)])
def test_a_prefix_everywhere_leaves_no_states(family, scope):
    tuning = prefix_tuning(tiny_surrogate(family), scope)
    batch = collate(tuning.surrogate, examples())
    assert not tuning.has_states
    with pytest.raises(ValueError, match="leaves no untrained part"):
        tuning.states(batch)
    with pytest.raises(ValueError, match="leaves no untrained part"):
        tuning.nll({"states": torch.zeros(3, 9, 16), **batch})


@pytest.mark.parametrize(("family", "scope"), CASES)
def test_a_second_training_repeats_the_first(family, scope):
    check_a_second_training_repeats_the_first(prefix_tuning(tiny_surrogate(family), scope), dropout=0.2)


@pytest.mark.parametrize(("family", "scope"), CASES)
def test_dropout_is_inverted_with_a_mask_for_each_example(family, scope):
    """Each example's loss is that of a prefix with its own mask, whatever examples stand beside it."""
    tuning = prefix_tuning(tiny_surrogate(family), scope)
    rows = [5, 3, 8]
    torch.manual_seed(4)
    found = tuning.nll(collate(tuning.surrogate, examples()), 0.3, rows)
    masks = drop_per_example(torch.ones(tuning.start.shape), 0.3, rows)
    assert masks.unique().tolist() == pytest.approx([0, 1 / 0.7]) and 0.6 < (masks > 0).float().mean() < 0.8
    assert not torch.equal(masks[0], masks[1])
    for example, mask, row, loss in zip(examples(), masks, rows, found, strict=True):
        batch = collate(tuning.surrogate, [example])
        by_hand = PrefixTuning(tiny_surrogate(family), tuning.start * mask, scope=scope)
        torch.testing.assert_close(by_hand.nll(batch)[0], loss, rtol=1e-4, atol=1e-5)
        torch.manual_seed(4)  # making the surrogate has set another
        torch.testing.assert_close(tuning.nll(batch, 0.3, [row])[0], loss, rtol=1e-4, atol=1e-5)
    torch.manual_seed(5)
    assert not torch.allclose(found, tuning.nll(collate(tuning.surrogate, examples()), 0.3, rows))


@pytest.mark.parametrize(("family", "option"), [("causal", "attention_dropout"), ("encoder-decoder", "dropout_rate")])
def test_a_models_dropout_is_that_of_its_config(family, option):
    """Set afterwards, a rate drops what transformers drops where the config had it when the model was made."""
    surrogate = tiny_surrogate(family)
    ours, batch = surrogate.model, collate(surrogate, examples())
    config = copy.deepcopy(ours.config)
    setattr(config, option, 0.25)
    theirs = type(ours)(config)
    theirs.load_state_dict(ours.state_dict())
    set_dropout(ours, 0.25)
    found = []
    for model in (ours, theirs):
        model.train()
        torch.manual_seed(5)
        found.append(target_logits(model, batch)[0])
    torch.testing.assert_close(*found)
    ours.eval()
    assert not torch.allclose(found[0], target_logits(ours, batch)[0])
    with pytest.raises(ValueError, match=r"Linear has no dropout to set to 0\.25"):
        set_dropout(nn.Linear(2, 2), 0.25)


@pytest.mark.parametrize(("family", "scope"), CASES)
def test_vector_is_the_mean_over_layers_in_order(family, scope):
    tuning = prefix_tuning(tiny_surrogate(family), scope)
    layers, tensors, heads, length, dim = tuning.start.shape
    start = tuning.start.numpy()
    expected = [
        sum(start[layer, t, h, p, d] for layer in range(layers)) / layers
        for t in range(tensors)
        for h in range(heads)
        for p in range(length)
        for d in range(dim)
    ]
    assert tuning.embedding() == pytest.approx(expected, abs=1e-6)
    with torch.no_grad():
        tuning.prefix[1] += 3
    assert tuning.embedding() - tuning.start_embedding() == pytest.approx(1, abs=1e-5)
    assert tuning.start_embedding() == pytest.approx(expected, abs=1e-6)
    assert tuning.segments() == []


def test_basis_names_what_must_agree():
    bases = [prefix_tuning(tiny_surrogate(family), scope).basis() for family, scope in CASES]
    assert [basis["scope"] for basis in bases] == ["all_layers", "decoder_self", "encoder_decoder", "all"]
    assert [basis["prefix_shape"][1] for basis in bases] == [2, 2, 4, 6]
    assert len({basis["init_sha256"] for basis in bases}) == 4
    assert prefix_tuning(tiny_surrogate("causal"), layers=2).basis()["scope"] == "last_2_layers"


@pytest.mark.parametrize(("family", "scope"), CASES)
def test_a_bf16_surrogate_trains_an_fp32_prefix(family, scope):
    surrogate = tiny_surrogate(family, dtype=torch.bfloat16)
    tuning, batch = prefix_tuning(surrogate, scope), collate(surrogate, examples())
    losses = tuning.nll(batch)
    losses.sum().backward()
    assert losses.dtype == tuning.prefix.dtype == tuning.prefix.grad.dtype == torch.float32
    assert (tuning.prefix.grad != 0).float().mean() > 0.99
    whole = prefix_tuning(tiny_surrogate(family), scope).nll(batch)
    torch.testing.assert_close(losses, whole, rtol=0.05, atol=0.05)


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
    tuning, batch = prefix_tuning(surrogate), examples()
    before = tuning.nll(collate(surrogate, batch))
    speed_up_frozen(surrogate.model)
    assert not any(type(module) is nn.Linear for module in surrogate.model.modules())
    torch.testing.assert_close(tuning.nll(collate(surrogate, batch)), before)


def test_speed_up_leaves_what_is_trained():
    model = nn.Sequential(nn.Linear(2, 3).requires_grad_(False), nn.Linear(3, 2))
    speed_up_frozen(model)
    assert isinstance(model[0], FrozenLinear) and type(model[1]) is nn.Linear


def test_a_trainable_surrogate_is_refused():
    surrogate = tiny_surrogate("causal")
    surrogate.frozen = False
    with pytest.raises(ValueError, match="frozen"):
        prefix_tuning(surrogate)
