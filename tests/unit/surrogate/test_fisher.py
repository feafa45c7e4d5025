"""The exact Fisher diagonal against a loop of single backward passes and against torch.func."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MT5Config,
    MT5ForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    UMT5Config,
    UMT5ForConditionalGeneration,
)

from fute.surrogate.fisher.accumulator import reduced
from fute.surrogate.fisher.diagonal import check_modules, diagonal_fisher, fisher_pass, loop_fisher
from fute.surrogate.text2text import IGNORED

VOCABULARY = 37


def tiny_t5(*, tied: bool = True, **overrides) -> T5ForConditionalGeneration:
    """A random T5 of 2 + 2 layers; stand-in for t5-base (tied) or t5-v1_1-base (untied, gated)."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=16,
        d_kv=4,
        d_ff=24,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.3,
        feed_forward_proj="relu" if tied else "gated-gelu",
        tie_word_embeddings=tied,
        decoder_start_token_id=0,
        pad_token_id=0,
        **overrides,
    )
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():  # T5 starts attention near uniform; make every part matter
        for parameter in model.parameters():
            parameter.mul_(1.0 if parameter.ndim == 1 else 0.7).add_(0.1 * torch.randn_like(parameter))
    return model


def tiny_llama(**overrides) -> LlamaForCausalLM:
    """A random Llama with grouped queries and a tied head; stand-in for SmolLM2."""
    torch.manual_seed(1)
    options = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "pad_token_id": 2,
        "initializer_range": 0.3,
    }
    return LlamaForCausalLM(LlamaConfig(**options | overrides))


def t5_batch(lengths=((7, 3), (4, 5), (2, 1)), seed: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    width, target_width = max(a for a, _ in lengths), max(b for _, b in lengths)
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full((len(lengths), target_width), IGNORED)
    for i, (n, m) in enumerate(lengths):
        ids[i, :n] = torch.randint(1, VOCABULARY, (n,), generator=generator)
        mask[i, :n] = 1
        labels[i, :m] = torch.randint(1, VOCABULARY, (m,), generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def llama_batch(lengths=((7, 3), (4, 1), (3, 2)), seed: int = 4, pad: int = 2) -> dict[str, torch.Tensor]:
    """Right-padded; the pad id also stands inside the texts, as SmolLM2's does (it is its end of text)."""
    generator = torch.Generator().manual_seed(seed)
    width = max(n + m for n, m in lengths)
    ids = torch.full((len(lengths), width), pad)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for i, (n, m) in enumerate(lengths):
        ids[i, : n + m] = torch.randint(0, VOCABULARY, (n + m,), generator=generator)
        ids[i, 1] = pad
        mask[i, : n + m] = 1
        labels[i, n : n + m] = ids[i, n : n + m]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def rows(batch: dict[str, torch.Tensor], which) -> dict[str, torch.Tensor]:
    return {name: tensor[which] for name, tensor in batch.items()}


def assert_close(found: dict, expected: dict, tolerance: float = 1e-5) -> None:
    """Relative error of each tensor's norm, the strictest reading of 'per tensor'."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        assert value.norm() > 0, f"{name} has no gradient: the comparison would be empty"
        error = (found[name] - value).norm() / value.norm()
        assert error < tolerance, f"{name}: {error:.2e}"


MODELS = {
    "t5": (tiny_t5, t5_batch),
    "t5-v1.1": (lambda: tiny_t5(tied=False), t5_batch),
    "llama": (tiny_llama, llama_batch),
    "llama-untied-biases": (
        lambda: tiny_llama(tie_word_embeddings=False, attention_bias=True, mlp_bias=True),
        llama_batch,
    ),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("reduce", ["none", "rows", "tensors"])
@pytest.mark.parametrize("token_reduction", ["sum", "mean"])
def test_equals_loop(kind, reduce, token_reduction):
    make_model, make_batch = MODELS[kind]
    model, batches = make_model(), [make_batch(), make_batch(seed=8)]
    options = {"reduce": reduce, "token_reduction": token_reduction}
    assert_close(diagonal_fisher(model, batches, **options), loop_fisher(model, batches, **options))


def test_mt5_is_a_t5_under_another_name():
    t5 = tiny_t5(tied=False)
    mt5 = MT5ForConditionalGeneration(MT5Config(**{**t5.config.to_dict(), "model_type": "mt5"}))
    mt5.load_state_dict(t5.state_dict())
    assert_close(diagonal_fisher(mt5, [t5_batch()]), loop_fisher(t5, [t5_batch()]))


@pytest.mark.parametrize("kind", MODELS)
def test_keys_are_parameter_names_tied_ones_once(kind):
    make_model, make_batch = MODELS[kind]
    model = make_model()
    values = diagonal_fisher(model, [make_batch()])
    assert {n: v.shape for n, v in values.items()} == {n: p.shape for n, p in model.named_parameters()}
    assert all(v.dtype == torch.float32 and (v >= 0).all() for v in values.values())


def test_t5_equals_torch_func():
    """Ready 4-D masks: transformers' mask building branches on data, which vmap cannot trace."""
    model, batch = tiny_t5().eval(), t5_batch()
    model.set_attn_implementation("eager")
    weights = {name: p.detach() for name, p in model.named_parameters()}
    lowest = torch.finfo(torch.float32).min
    encoder_mask = (1.0 - batch["attention_mask"][:, None, None, :].float()) * lowest
    steps = batch["labels"].shape[1]
    causal = torch.full((steps, steps), lowest).triu(1)[None, None]

    def loss(weights, ids, mask, labels):
        decoder_ids = torch.cat([torch.zeros(1, dtype=torch.long), labels[:-1].clamp(min=0)])
        inputs = {
            "input_ids": ids[None],
            "attention_mask": mask[None],
            "decoder_input_ids": decoder_ids[None],
            "decoder_attention_mask": causal,
            "use_cache": False,
        }
        logits = functional_call(model, weights, (), inputs, tie_weights=True).logits[0]
        chosen = logits.log_softmax(-1).gather(1, labels.clamp(min=0)[:, None])[:, 0]
        return -(chosen * (labels != IGNORED)).sum()

    gradients = vmap(grad(loss), in_dims=(None, 0, 0, 0))(weights, batch["input_ids"], encoder_mask, batch["labels"])
    expected = {name: g.square().mean(0) for name, g in gradients.items()}
    assert_close(diagonal_fisher(model, [batch]), expected)
    traces = sum(g.flatten(1).square().sum(1) for g in gradients.values())
    torch.testing.assert_close(fisher_pass(model, [batch], traces=True).traces, traces, rtol=1e-5, atol=0)
    rows = fisher_pass(model, [batch], traces=True, reduce="rows").traces
    torch.testing.assert_close(rows, traces, rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("reduce", ["none", "rows"])
def test_padding_adds_nothing(kind, reduce):
    """One example alone and unpadded = the same example's share of a padded batch."""
    make_model, make_batch = MODELS[kind]
    model, batch = make_model(), make_batch()
    whole = diagonal_fisher(model, [batch], reduce=reduce)
    singles = []
    for i in range(3):
        single = rows(batch, slice(i, i + 1))
        length = int(single["attention_mask"].sum())
        targets = int((single["labels"] != IGNORED).sum()) if "t5" in kind else length
        single = {
            "input_ids": single["input_ids"][:, :length],
            "attention_mask": single["attention_mask"][:, :length],
            "labels": single["labels"][:, :targets],
        }
        singles.append(diagonal_fisher(model, [single], reduce=reduce))
    mean = {name: sum(single[name] for single in singles) / 3 for name in whole}
    assert_close(whole, mean)


def test_opposite_gradients_do_not_cancel():
    """One text with both targets of a two-word head at probability 1/2: by hand, gradients are +-h/2."""
    model = tiny_llama(tie_word_embeddings=False).eval()
    model.lm_head = nn.Linear(16, 2, bias=False)
    nn.init.zeros_(model.lm_head.weight)
    batch = llama_batch(((4, 1), (4, 1)))
    batch["input_ids"][1] = batch["input_ids"][0]
    batch["labels"][:, 4] = torch.tensor([0, 1])
    h = model.model(batch["input_ids"]).last_hidden_state[0, 3]
    found = diagonal_fisher(model, [batch])["lm_head.weight"]
    torch.testing.assert_close(found, (h.square() / 4).expand(2, -1), rtol=1e-5, atol=0)
    of_mean = diagonal_fisher(model, [batch], reduction="square_of_mean")["lm_head.weight"]
    assert of_mean.sum() < 1e-10 * found.sum()


def test_scratch_of_any_size_gives_the_same(monkeypatch):
    """Several row blocks of the tied table, several examples a block."""
    model, batch = tiny_t5(), t5_batch()
    expected = loop_fisher(model, [batch])
    for elements in (5 * 16, 2 * 24 * 16, 2**26):
        monkeypatch.setattr("fute.surrogate.fisher.squares._SCRATCH", elements)
        assert_close(diagonal_fisher(model, [batch]), expected)
        monkeypatch.setattr("fute.surrogate.fisher.accumulator._SCRATCH", {"cpu": elements, "cuda": elements})
        of_rows = {name: reduced(value, "rows") for name, value in expected.items()}
        assert_close(diagonal_fisher(model, [batch], reduce="rows"), of_rows)


@pytest.mark.parametrize("reduce", ["none", "rows"])
def test_tied_table_with_the_same_ids_in_encoder_and_decoder(reduce):
    """Every text is one id many times, which is also its target."""
    batch = t5_batch(((9, 4), (5, 3)))
    batch["input_ids"][batch["attention_mask"] == 1] = 7
    batch["labels"][batch["labels"] != IGNORED] = 7
    options = {"reduce": reduce, "include": lambda name: name == "shared.weight"}
    assert_close(diagonal_fisher(tiny_t5(), [batch], **options), loop_fisher(tiny_t5(), [batch], **options))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("reduce", ["none", "rows", "tensors"])
def test_traces_are_the_loops_squared_norms(kind, reduce):
    make_model, make_batch = MODELS[kind]
    model, batches = make_model(), [make_batch(), make_batch(((12, 2), (3, 3)), seed=8)]
    singles = [rows(batch, slice(i, i + 1)) for batch in batches for i in range(len(batch["labels"]))]
    expected = torch.stack([sum(v.sum() for v in loop_fisher(model, [single]).values()) for single in singles])
    found = fisher_pass(model, batches, reduce=reduce, traces=True).traces
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    assert fisher_pass(model, batches, reduce=reduce).traces.numel() == 0


def test_bf16_autocast_keeps_fp32_sums():
    """The gradients of a bf16 forward pass, as a loop under autocast has them, in fp32 sums."""
    model, batch = tiny_llama(), llama_batch()
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = diagonal_fisher(model, [batch]), loop_fisher(model, [batch])
    assert all(value.dtype == torch.float32 for value in found.values())
    assert_close(found, expected, 0.05)


@pytest.mark.parametrize("reduction", ["batch_mean_square", "square_of_mean"])
def test_other_reductions_by_autograd(reduction):
    model, batches = tiny_llama().eval(), [llama_batch(), llama_batch(((3, 2),), seed=9)]
    gradients = []
    for batch in batches:
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        total = nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum")
        gradients.append(torch.autograd.grad(total, list(model.parameters())))
    if reduction == "square_of_mean":
        expected = [((g + h) / 4).square() for g, h in zip(*gradients, strict=True)]
    else:
        expected = [((g / 3).square() + h.square()) / 4 for g, h in zip(*gradients, strict=True)]
    names = [name for name, _ in model.named_parameters()]
    found = diagonal_fisher(model, batches, reduction=reduction)
    assert_close(found, dict(zip(names, expected, strict=True)))
    of_rows = {name: reduced(value, "rows") for name, value in zip(names, expected, strict=True)}
    assert_close(diagonal_fisher(model, batches, reduction=reduction, reduce="rows"), of_rows)


@pytest.mark.parametrize("reduction", ["mean_of_squares", "batch_mean_square", "square_of_mean"])
def test_a_parameter_that_no_loss_depends_on_is_zero(reduction):
    """As in a mixture of experts, of which no token went to one."""
    model, batches = tiny_llama(), [llama_batch(), llama_batch(seed=9)]
    expected = diagonal_fisher(model, batches, reduction=reduction)
    model.model.expert = nn.Linear(2, 3)
    found = diagonal_fisher(model, batches, reduction=reduction)
    assert not found.pop("model.expert.weight").any() and not found.pop("model.expert.bias").any()
    assert_close(found, expected)


def test_sums_and_numbers_of_examples_are_of_all_processes():
    """Two processes with the same share of the texts."""
    model, batch = tiny_llama(), llama_batch()
    found = fisher_pass(model, [batch], sum_over_ranks=lambda tensor: tensor + tensor).values
    assert_close(found, loop_fisher(model, [batch]))


def test_include_equals_the_full_pass_and_stops_below():
    model, batch = tiny_llama(), llama_batch()

    def late(name: str) -> bool:
        return name.startswith(("model.layers.2.", "model.norm"))

    reached = []
    model.model.layers[2].input_layernorm.register_forward_hook(
        lambda module, args, output: reached.append(args[0].requires_grad)
    )
    found = diagonal_fisher(model, [batch], include=late)
    assert reached == [False], "the graph must begin at the lowest included module"
    full = loop_fisher(model, [batch])
    assert_close(found, {name: value for name, value in full.items() if late(name)})
    for wrong in ("reduction", "token_reduction", "labels", "reduce"):
        with pytest.raises(ValueError, match=f"^{wrong} is 'mean_of_square'; give one of "):
            diagonal_fisher(model, [batch], **{wrong: "mean_of_square"})
    with pytest.raises(ValueError, match="selects no parameter"):
        diagonal_fisher(model, [batch], include=lambda name: False)


def test_model_is_left_as_it_was():
    model = tiny_t5().train()
    model.encoder.eval()
    model.shared.weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    flags = [p.requires_grad for p in model.parameters()]
    first = diagonal_fisher(model, [t5_batch()])
    assert model.training and not model.encoder.training
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    again = diagonal_fisher(model, [t5_batch()])  # dropout 0.3 would show
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_unknown_module_is_named():
    class Scaled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = tiny_llama()
    model.model.layers[1].mlp.up_proj = Scaled(16, 24, bias=False)
    with pytest.raises(TypeError, match=r"layers\.1\.mlp\.up_proj.*Scaled"):
        diagonal_fisher(model, [llama_batch()])
    with pytest.raises(TypeError, match=r"layers\.1\.mlp\.up_proj.*Scaled"):
        check_modules(model)
    check_modules(model, lambda name: "up_proj" not in name)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    kept = diagonal_fisher(model, [llama_batch()], include=lambda name: "up_proj" not in name)
    assert "model.layers.0.mlp.down_proj.weight" in kept


def test_torchs_own_norms_against_loop():
    """GPT-2 has no kind of its own here, so torch's norms are tested inside the Llama."""
    model = tiny_llama()
    for layer in model.model.layers:
        layer.input_layernorm = nn.LayerNorm(16)
        nn.init.normal_(layer.input_layernorm.weight)
        nn.init.normal_(layer.input_layernorm.bias)
        layer.post_attention_layernorm = nn.RMSNorm(16)  # without an eps of its own
    assert_close(diagonal_fisher(model, [llama_batch()]), loop_fisher(model, [llama_batch()]))


def test_sampled_labels_are_seeded_and_differ_from_the_given():
    model, batch = tiny_t5(), t5_batch()

    def sampled(seed: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return diagonal_fisher(model, [batch], labels="sampled", generator=generator)

    given, one, again, other = diagonal_fisher(model, [batch]), sampled(1), sampled(1), sampled(2)
    name = "lm_head.weight" if "lm_head.weight" in given else "shared.weight"
    assert torch.equal(one[name], again[name])
    assert not torch.allclose(one[name], other[name]) and not torch.allclose(one[name], given[name])


@pytest.mark.parametrize("reduction", ["mean_of_squares", "batch_mean_square", "square_of_mean"])
def test_what_is_not_finite_is_named_also_in_linear_layers(reduction):
    """Padding has no gradient, and is skipped: not so a gradient that is not a number."""
    model = tiny_llama()
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    only = "model.layers.2.mlp.down_proj.weight"
    with pytest.raises(FloatingPointError, match=f"Fisher information of {only} is not finite"):
        diagonal_fisher(model, [llama_batch()], reduction=reduction, include=lambda name: name == only)


def test_no_example_is_an_error():
    with pytest.raises(ValueError, match="no example"):
        diagonal_fisher(tiny_t5(), [])


def test_a_relative_bias_without_a_rule_is_refused_before_the_training():
    """UMT5 has norms and tables of biases of its own: who leaves out the norms is not to train for nothing."""
    sizes = {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4}
    torch.manual_seed(2)
    model = UMT5ForConditionalGeneration(UMT5Config(vocab_size=VOCABULARY, **sizes))
    with pytest.raises(TypeError, match=r"relative_attention_bias' of type Embedding; exclude its parameters"):
        check_modules(model, lambda name: "norm" not in name)
    with pytest.raises(TypeError, match=r"layer_norm' of type UMT5LayerNorm; exclude its parameters"):
        check_modules(model, lambda name: "relative_attention_bias" not in name)

    def include(name: str) -> bool:
        return "norm" not in name and "relative_attention_bias" not in name

    check_modules(model, include)
    fast, plain = (fisher(model, [t5_batch()], include=include) for fisher in (diagonal_fisher, loop_fisher))
    for name, expected in plain.items():
        torch.testing.assert_close(fast[name], expected, rtol=1e-4, atol=1e-5 * float(expected.max()))
