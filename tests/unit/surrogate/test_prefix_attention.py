"""The registered T5 attention: without a prefix it is T5's own, with one it is what the formulas say."""

import math

import pytest
import torch
from support.tunings import CASES, WIDE, examples, prefix_tuning, tiny_surrogate
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from fute.surrogate.prefix import PARTS
from fute.surrogate.prefix_attention import attention_modules, prefixed, use_prefix_attention
from fute.surrogate.text2text import collate, negative_log_likelihood, target_logits

T5_SCOPES = [scope for family, scope in CASES if family == "encoder-decoder"]


def t5() -> T5ForConditionalGeneration:
    return tiny_surrogate("encoder-decoder").model


def plain_nll(model: T5ForConditionalGeneration, batch: dict[str, Tensor]) -> Tensor:
    return negative_log_likelihood(*target_logits(model, batch, use_cache=False)).sum(1)


@pytest.mark.parametrize("lengths", [((9, 3), (4, 1), (6, 2)), ((5, 2), (5, 2))], ids=["padded", "unpadded"])
def test_without_a_prefix_it_equals_eager_attention(lengths):
    batch = collate(tiny_surrogate("encoder-decoder"), examples(lengths))
    outputs = []
    for registered in (False, True):
        model = t5()
        if registered:
            use_prefix_attention(model)
        else:
            for stack in (model.encoder, model.decoder):
                stack.set_attn_implementation("eager")
        encoded = model.encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state
        outputs.append((encoded[batch["attention_mask"].bool()], *target_logits(model, batch)))
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def attend(module: nn.Module, x: Tensor, memory: Tensor, bias: Tensor, seen: Tensor, prefix: Tensor | None) -> Tensor:
    """x: (Q, d), memory: (K, d), bias: (heads, Q, P + K or K), seen: (Q, K), prefix: (2, heads, P, dim)."""

    def heads(states: Tensor) -> Tensor:
        return states.view(len(states), module.n_heads, -1).transpose(0, 1)

    query, key, value = heads(module.q(x)), heads(module.k(memory)), heads(module.v(memory))
    if prefix is not None:
        key, value = torch.cat((prefix[0], key), 1), torch.cat((prefix[1], value), 1)
        columns = prefix.shape[2]
        seen = torch.cat((torch.ones(len(x), columns).bool(), seen), 1)
        if bias.shape[2] < key.shape[1]:
            bias = torch.cat((torch.zeros(len(bias), len(x), columns), bias), 2)
    scores = (query @ key.transpose(1, 2) + bias).masked_fill(~seen, -math.inf)
    return module.o((scores.softmax(-1) @ value).transpose(0, 1).flatten(1))


def plain_t5(model: T5ForConditionalGeneration, ids: list[int], targets: list[int], prefix: Tensor, scope: str):
    """Log-probabilities (T, V) of one target, from the formulas."""
    parts = PARTS[scope]
    everything = torch.ones(len(ids), len(ids)).bool()

    def own(part: str, layer: int) -> Tensor | None:
        return prefix[layer, 2 * parts.index(part) :][:2] if part in parts else None

    x = model.shared(torch.tensor(ids))
    bias = model.encoder.block[0].layer[0].SelfAttention.compute_bias(len(ids), len(ids))[0]
    for index, block in enumerate(model.encoder.block):
        normed = block.layer[0].layer_norm(x)
        x = x + attend(block.layer[0].SelfAttention, normed, normed, bias, everything, own("encoder", index))
        x = block.layer[1](x)
    encoded = model.encoder.final_layer_norm(x)
    size = len(targets)
    y = model.shared(torch.tensor([0, *targets[:-1]]))
    first = model.decoder.block[0].layer[0].SelfAttention
    # The cache counts the prefix as tokens before the target; the registered attention gives it no position.
    before = prefix.shape[3] if scope == "decoder_self" else 0
    bias = first.compute_bias(size, before + size, past_seen_tokens=before)[0]
    no_bias = torch.zeros(first.n_heads, size, len(ids))
    for index, block in enumerate(model.decoder.block):
        normed = block.layer[0].layer_norm(y)
        causal = torch.ones(size, size).tril().bool()
        y = y + attend(block.layer[0].SelfAttention, normed, normed, bias, causal, own("decoder", index))
        normed, cross = block.layer[1].layer_norm(y), block.layer[1].EncDecAttention
        y = y + attend(cross, normed, encoded, no_bias, torch.ones(size, len(ids)).bool(), own("cross", index))
        y = block.layer[2](y)
    y = model.decoder.final_layer_norm(y)
    if model.config.scale_decoder_outputs:
        y = y * model.config.d_model**-0.5
    return model.lm_head(y).log_softmax(-1)


@pytest.mark.parametrize("scope", T5_SCOPES)
def test_every_scope_equals_the_formulas(scope):
    tuning, batch = prefix_tuning(tiny_surrogate("encoder-decoder"), scope), examples()
    with torch.no_grad():
        found = tuning.nll(collate(tuning.surrogate, batch))
        expected = []
        for example in batch:
            ids, targets = list(example.input_ids), list(example.target_ids)
            chances = plain_t5(t5(), ids, targets, tuning.start, scope)
            expected.append(-sum(chances[k, y] for k, y in enumerate(targets)))
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_cache_and_registered_attention_differ_by_the_position_bias_only():
    """The cache gives a prefix the bias of preceding tokens, the registered attention gives it none."""
    differences = []
    for zeroed in (True, False):
        nlls = []
        for registered in (False, True):
            surrogate = tiny_surrogate("encoder-decoder")
            model, batch = surrogate.model, collate(surrogate, examples())
            if zeroed:
                model.decoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.zero_()
            tuning = prefix_tuning(surrogate)
            if registered:
                use_prefix_attention(model)
                with prefixed(attention_modules(model, "decoder"), tuning.start[:, :, None]):
                    nlls.append(plain_nll(model, batch))
            else:
                nlls.append(tuning.nll(batch).detach())
        differences.append(float((nlls[0] - nlls[1]).abs().max()))
    assert differences[0] < 1e-5 < 1e-3 < differences[1]


@pytest.mark.parametrize("scope", WIDE)
def test_prefixes_stay_within_their_model_and_call(scope):
    tuning, other = prefix_tuning(tiny_surrogate("encoder-decoder"), scope), t5()
    batch = collate(tuning.surrogate, examples())
    plain = plain_nll(other, batch)
    use_prefix_attention(other)
    modules = [module for part in PARTS[scope] for module in attention_modules(tuning.model, part)]
    # Another model runs while this one carries its prefixes, and this one runs once they are gone.
    with prefixed(modules, [tuning.start[0, :2, None]] * len(modules)):
        torch.testing.assert_close(plain_nll(other, batch), plain)
        assert not torch.allclose(plain_nll(tuning.model, batch), plain, atol=1e-3)
    torch.testing.assert_close(plain_nll(tuning.model, batch), plain)
    with pytest.raises(ValueError, match="input_ids"):
        tuning.nll({"labels": batch["labels"]})
    assert not any(hasattr(module, "prefix") for module in tuning.model.modules())
