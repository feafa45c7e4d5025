"""Task embeddings: from pairs to a vector, back from a file, and compared. On tiny random stand-ins."""

import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.stand_ins import FAMILIES, pairs, save_stand_in
from transformers import LlamaForCausalLM, T5EncoderModel

from fute import device
from fute.config.engines import EngineSettings
from fute.config.methods import BiasSettings, LoraSettings, TaskEmbSettings, TextEmbSettings, TupateSettings
from fute.config.surrogate import SurrogateSettings
from fute.embeddings import (
    Embedding,
    EmbeddingError,
    centred_cosine,
    cosine,
    load,
    save,
    sqrt_cosine,
    tensor_mean_cosine,
)
from fute.embeddings.embedder import Embedder
from fute.embeddings.sentence_encoder import SentenceEncoder
from fute.embeddings.taskemb import TaskEmb
from fute.llm.transformers import TransformersEngine
from fute.surrogate.checkpoint import Checkpoint, Preempted, heed_sigterm
from fute.surrogate.fisher.diagonal import diagonal_fisher, loop_fisher
from fute.surrogate.text2text import collate, encode_pairs, load_surrogate
from fute.surrogate.training import epoch_batches, epoch_generator, step_seed, train


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("surrogates")
    return {family: save_stand_in(root / family, family) for family in FAMILIES}


def surrogate_settings(family: str, **options) -> SurrogateSettings:
    return SurrogateSettings(family=family, max_input_tokens=12, **options)


def tupate(**options) -> TupateSettings:
    defaults = {"epochs": 4, "batch_size": 4, "learning_rate": 5e-2, "length": 3}
    return TupateSettings(**defaults | options)


def taskemb(**options) -> TaskEmbSettings:
    defaults = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "fisher_batch_size": 8}
    return TaskEmbSettings(**defaults | options)


def embedder(snapshots, family, method, **options) -> Embedder:
    return Embedder(snapshots[family], surrogate_settings(family, **options), method, "sha")


def file_bytes(embedding: Embedding, path: Path) -> bytes:
    save(embedding, path)
    return path.read_bytes()


METHODS = [
    tupate(),
    taskemb(),
    taskemb(dropout=0.2),
    tupate(dropout=0.2),
    LoraSettings(epochs=4, batch_size=4, learning_rate=1e-2, rank=2),
    BiasSettings(epochs=4, batch_size=4, learning_rate=1e-2),
    TextEmbSettings(),
]


@pytest.mark.parametrize(
    ("family", "method"),
    [
        *((family, method) for family in FAMILIES for method in METHODS),
        ("causal", taskemb(layers=1)),
        ("causal", tupate(layers=1)),
    ],
)
def test_same_pairs_same_bytes_whatever_came_between(snapshots, tmp_path, family, method):
    made = embedder(snapshots, family, method)
    first = file_bytes(made.embed(pairs(1)), tmp_path / "first.safetensors")
    between = made.embed(pairs(2))
    again = file_bytes(made.embed(pairs(1)), tmp_path / "again.safetensors")
    assert first == again
    fresh = embedder(snapshots, family, method).embed(pairs(2))
    assert np.array_equal(fresh.vector, between.vector), "a vector depends on what was embedded before it"
    assert not np.array_equal(between.vector, load(tmp_path / "first.safetensors").vector)


@pytest.mark.parametrize("family", FAMILIES)
def test_tupate_vector_is_the_trained_prefix_and_learns(snapshots, family):
    found = embedder(snapshots, family, tupate(epochs=8)).embed(pairs(1))
    heads, layers, size = (4, 2, 4) if family == "encoder-decoder" else (2, 3, 4)
    assert found.vector.shape == found.init.shape == (2 * heads * 3 * size,)
    assert found.vector.dtype == np.float32
    assert found.meta["loss_end"] < found.meta["loss_start"]
    assert found.meta["steps"] == 48 and found.meta["pairs"] == 24
    assert found.basis["prefix_shape"] == [layers, 2, heads, 3, size]
    moved = np.linalg.norm(found.vector - found.init) / np.linalg.norm(found.init)
    assert found.meta["relative_distance"] == pytest.approx(moved)


def test_vector_is_the_mean_over_order_seeds(snapshots):
    both = embedder(snapshots, "causal", tupate(order_seeds=(1, 2))).embed(pairs(1))
    each = [embedder(snapshots, "causal", tupate(order_seeds=(s,))).embed(pairs(1)).vector for s in (1, 2)]
    assert np.array_equal(both.orders, np.stack(each))
    np.testing.assert_allclose(both.vector, (each[0] + each[1]) / 2, rtol=1e-6, atol=1e-9)
    assert 0.5 < cosine(each[0], each[1]) < 1


@pytest.mark.parametrize(("family", "layers"), [*((family, None) for family in FAMILIES), ("causal", 1)])
def test_taskemb_is_the_fisher_of_the_fine_tuned_model(snapshots, family, layers):
    """Fine-tune with an own loop, then take the looped Fisher: the same vector, tensors excluded by name."""
    names = (
        ("embed_tokens", "shared", "lm_head") if layers is None else ("embed_tokens", "lm_head", "layers.0", "layers.1")
    )
    method = taskemb(exclude=("embed_tokens", "^shared", "lm_head"), bucket_batches=1, layers=layers)
    found = embedder(snapshots, family, method).embed(pairs(1)[:20])
    surrogate = load_surrogate(snapshots[family], surrogate_settings(family), frozen=False)
    examples = encode_pairs(surrogate, pairs(1)[:20])
    model = surrogate.model

    def above(name: str) -> bool:
        return not any(part in name for part in names)

    trained = [p for name, p in model.named_parameters() if layers is None or above(name)]
    decay = [p for p in trained if p.ndim > 1]
    plain = [p for p in trained if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": decay}, {"params": plain, "weight_decay": 0.0}], lr=1e-3)
    step, total, rising = 0, 10, 1
    for epoch in (1, 2):
        for batch in epoch_batches(examples, 4, epoch_generator(42, epoch), 1):
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * min((step + 1) / rising, (total - step) / (total - rising))
            inputs = collate(surrogate, batch)
            missing = inputs["input_ids"].shape[1] - inputs["labels"].shape[1]
            if family == "causal":  # as wide as the sequence, as the model's own loss wants them
                inputs["labels"] = torch.nn.functional.pad(inputs["labels"], (missing, 0), value=-100)
            loss = model(**inputs).loss
            model.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            step += 1
    expected = loop_fisher(model, [collate(surrogate, [example]) for example in examples], include=above)
    assert [name for name, _, _ in found.segments] == list(expected)
    for name, start, stop in found.segments:
        np.testing.assert_allclose(
            found.vector[start:stop], expected[name].flatten().numpy(), rtol=2e-2, atol=1e-7, err_msg=name
        )
    assert 0 < found.meta["largest_example_share"] <= 1
    squares = np.sort(found.vector.astype(np.float64) ** 2)[::-1]
    for k in (10, 1000):
        assert found.meta[f"top_{k}_share"] == pytest.approx(squares[:k].sum() / squares.sum(), rel=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_taskemb_fine_tunes_with_the_recipes_dropout(snapshots, family):
    """Not with that of the model's config, which T5's has."""
    vectors = [embedder(snapshots, family, taskemb(dropout=rate)).embed(pairs(1)).vector for rate in (0.2, 0.3)]
    assert not np.allclose(*vectors, rtol=1e-3)


@pytest.mark.parametrize(
    "options",
    [{"reduction": "batch_mean_square"}, {"reduction": "square_of_mean"}, {"token_reduction": "mean"},
     {"labels": "sampled"}],
    ids=str,
)  # fmt: skip
def test_the_fisher_pass_takes_the_recipes_options(snapshots, options):
    """On the model as the training left it, in batches of eight texts of similar length."""
    made = embedder(snapshots, "causal", taskemb(**options))
    found = made.embed(pairs(1)).vector
    ordered = sorted(made._encoded(pairs(1)), key=lambda example: (len(example.input_ids), example.index))
    generator = torch.Generator()

    def fisher(**options) -> np.ndarray:
        def batches():
            for number in (1, 2, 3):
                generator.manual_seed(step_seed(42, number))
                yield collate(made.surrogate, ordered[8 * number - 8 : 8 * number])

        values = diagonal_fisher(made._method.model, batches(), generator=generator, **options)
        return np.concatenate([value.flatten().numpy() for value in values.values()])

    np.testing.assert_allclose(found, fisher(**options), rtol=1e-5, atol=1e-12)
    assert not np.allclose(found, fisher(), rtol=1e-2)


def test_two_processes_share_the_fisher_pass(snapshots):
    """Each takes half of the batches, and all sums are added: the number of texts, then every tensor's squares."""
    made = embedder(snapshots, "causal", taskemb())
    method, examples = made._method, made._encoded(pairs(1))
    passed = (examples, made.surrogate.collate, 42, None)
    whole, shares = method._fisher(*passed).values, ([], [])
    for rank, mine in enumerate(shares):
        reduce = lambda tensor, how, mine=mine: mine.append(tensor.clone()) or tensor  # noqa: E731
        method.accelerator = SimpleNamespace(process_index=rank, num_processes=2, reduce=reduce)
        method._fisher(*passed)
    assert 0 < shares[0][0] < 24
    count, *sums = (one + other for one, other in zip(*shares, strict=True))
    assert count == 24
    for (name, value), total in zip(whole.items(), sums, strict=True):
        torch.testing.assert_close(total / 24, value, rtol=1e-4, atol=1e-9, msg=name)


def test_taskemb_heeds_a_signal_in_its_fisher_pass(snapshots, tmp_path, monkeypatch):
    made = embedder(snapshots, "causal", taskemb())

    def trained(*args, **options):
        log = train(*args, **options)
        signal.raise_signal(signal.SIGTERM)
        return log

    monkeypatch.setattr("fute.embeddings.taskemb.train", trained)
    with pytest.raises(Preempted, match="after the training"), heed_sigterm():
        made.embed(pairs(1), checkpoints=tmp_path)


def test_a_layer_without_a_rule_is_refused_before_the_training(snapshots):
    surrogate = load_surrogate(snapshots["causal"], surrogate_settings("causal"), frozen=False)
    surrogate.model.model.norm = torch.nn.GroupNorm(2, 16)
    with pytest.raises(TypeError, match=r"no exact per-example gradient is known for module 'model\.norm'"):
        TaskEmb(surrogate, taskemb(), None)
    TaskEmb(surrogate, taskemb(exclude=("model.norm",)), None)


def test_taskemb_of_the_last_layers_computes_the_states_below_once(snapshots):
    """Two orders, their Fisher passes, and a second black box that gives the same labels: one pass over the texts."""
    made = embedder(snapshots, "causal", taskemb(layers=1, order_seeds=(1, 2)))
    calls = []
    made._method._cut.lower.register_forward_hook(lambda *_: calls.append(1))
    first = made.embed(pairs(1))
    assert len(calls) == 1 and first.basis["layers"] == 1
    assert {name.split(".")[2] for name, _, _ in first.segments if "layers" in name} == {"2"}, (
        "numbered as in the model"
    )
    again = made.embed(pairs(1))
    assert len(calls) == 1 and np.array_equal(first.vector, again.vector)
    whole = embedder(snapshots, "causal", taskemb(order_seeds=(1, 2))).embed(pairs(1))
    with pytest.raises(ValueError, match="layers: 1 and None"):
        cosine(first, whole)


def test_a_frozen_surrogate_in_slow_bfloat16_is_warned_of(snapshots, monkeypatch, capsys):
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda: False)
    embedder(snapshots, "causal", tupate(), dtype="bfloat16")
    assert "surrogate.settings.dtype: float32 takes a fraction" in capsys.readouterr().out


def test_taskemb_of_the_last_layers_of_a_bf16_surrogate_trains_in_fp32(snapshots):
    made = embedder(snapshots, "causal", taskemb(layers=1, epochs=8), dtype="bfloat16")
    assert {p.dtype for p in made.surrogate.model.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in made._method.model.parameters()} == {torch.float32}
    rounded = made.embed(pairs(1)).meta
    plain = embedder(snapshots, "causal", taskemb(layers=1, epochs=8)).embed(pairs(1)).meta
    gains = [meta["loss_start"] - meta["loss_end"] for meta in (plain, rounded)]
    assert gains[0] > 0.01 and gains[1] == pytest.approx(gains[0], rel=0.1)


def test_taskemb_rows_are_means_of_the_full_vector(snapshots):
    full = embedder(snapshots, "causal", taskemb()).embed(pairs(1))
    rows = embedder(snapshots, "causal", taskemb(reduce="rows")).embed(pairs(1))
    shapes = {n: p.shape for n, p in LlamaForCausalLM.from_pretrained(snapshots["causal"]).named_parameters()}
    by_name = {name: rows.vector[start:stop] for name, start, stop in rows.segments}
    for name, start, stop in full.segments:
        tensor = full.vector[start:stop].reshape(shapes[name])
        expected = tensor.mean(1) if tensor.ndim == 2 else tensor
        np.testing.assert_allclose(by_name[name], expected, rtol=1e-4)
    with pytest.raises(ValueError, match=r"reduce: 'none' and 'rows'"):
        cosine(full, rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_small_steps_from_the_bf16_grid_lower_the_loss(snapshots, family):
    """Hub models lie on the grid of bf16, where four steps at 2e-5 stay under half a step: products must be fp32."""

    def losses_of(dtype: torch.dtype) -> tuple[float, float]:
        made = embedder(snapshots, family, taskemb(), dtype="bfloat16")
        model = made.surrogate.model
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.bfloat16())
        model.to(dtype)
        examples = encode_pairs(made.surrogate, [pairs(1)[0]] * 8)  # padding is NaN in fp64
        losses = made._method.losses_of(examples, None)
        with torch.no_grad():
            before = losses(examples).sum().item()
        fixed = {"epochs": 4, "batch_size": 8, "learning_rate": 2e-5, "order_seed": 0}
        train(losses, model.named_parameters(), examples, **fixed)
        with torch.no_grad():
            return before, losses(examples).sum().item()

    (before, after), (_, exact) = losses_of(torch.float32), losses_of(torch.float64)
    assert exact < before
    assert before - after == pytest.approx(before - exact, rel=0.05)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", [tupate(), LoraSettings(epochs=4, batch_size=4, learning_rate=1e-2, rank=2)])
def test_tuning_a_bf16_surrogate_lowers_the_loss_as_in_fp32(snapshots, family, method):
    by_dtype = [embedder(snapshots, family, method, dtype=d).embed(pairs(1)).meta for d in ("float32", "bfloat16")]
    plain, rounded = (meta["loss_start"] - meta["loss_end"] for meta in by_dtype)
    assert plain > 0.1
    assert rounded == pytest.approx(plain, rel=0.1)


def test_early_stopping_keeps_the_best_epoch(snapshots):
    method = tupate(max_epochs=40, patience=2, learning_rate=0.3)
    found = embedder(snapshots, "causal", method).embed(pairs(1), dev=pairs(5, n=6))
    (losses,), (best,) = found.meta["dev_losses"], found.meta["best_epochs"]
    assert best == 1 + losses.index(min(losses))
    assert len(losses) in (best + 2, 40)
    with pytest.raises(ValueError, match="no max_epochs and patience"):
        embedder(snapshots, "causal", tupate()).embed(pairs(1), dev=pairs(5))


def test_refusals(snapshots):
    with pytest.raises(ValueError, match=r"moved by 0\.0\d+ .*min_relative_distance=0\.5"):
        embedder(snapshots, "causal", tupate(learning_rate=1e-4)).embed(pairs(1))
    with pytest.raises(ValueError, match="the last layers only is for causal surrogates"):
        embedder(snapshots, "encoder-decoder", taskemb(layers=1))
    for reduction in ("mean_of_squares", "square_of_mean"):
        with pytest.raises(EmbeddingError, match="leaves out every parameter"):  # before it is trained
            embedder(snapshots, "causal", taskemb(exclude=("weight",), reduction=reduction))
    with pytest.raises(EmbeddingError, match="no held-out rows to stop early by"):  # not to train to max_epochs
        embedder(snapshots, "causal", tupate(max_epochs=7, patience=1)).embed(pairs(1), dev=[])
    with pytest.raises(ValueError, match="family='causal'"):
        load_surrogate(snapshots["encoder-decoder"], surrogate_settings("causal"))
    with pytest.raises(ValueError, match=r"order_seeds \[1, 2, 1\] repeat one"):
        tupate(order_seeds=(1, 2, 1))
    with pytest.raises(ValueError, match=r"exclude: '\(norm' is no regular expression"):
        taskemb(exclude=("(norm",))


def test_a_folder_without_the_models_head_is_refused(snapshots, tmp_path):
    """Transformers would draw the head, another one at every load."""
    shutil.copytree(snapshots["causal"], tmp_path, dirs_exist_ok=True)
    LlamaForCausalLM.from_pretrained(tmp_path, tie_word_embeddings=False).model.save_pretrained(tmp_path)
    missing = r"holds no weights for lm_head.weight of LlamaForCausalLM"
    with pytest.raises(ValueError, match=missing):
        load_surrogate(tmp_path, surrogate_settings("causal"))
    with pytest.raises(ValueError, match=missing):
        TransformersEngine(EngineSettings(engine="transformers"), tmp_path)
    assert SentenceEncoder(tmp_path, max_tokens=9, batch_size=2).encode([("a film",)])[0].shape == (1, 16)


def test_a_sentence_encoder_needs_the_weights_that_it_uses(snapshots, tmp_path):
    shutil.copytree(snapshots["encoder-decoder"], tmp_path, dirs_exist_ok=True)
    T5EncoderModel.from_pretrained(tmp_path).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"is_encoder_decoder": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    SentenceEncoder(tmp_path, max_tokens=9, batch_size=2)  # it has no decoder, which is not used
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_layers": config["num_layers"] + 1}))
    with pytest.raises(ValueError, match=r"holds no weights for encoder.block.\d.* and \d+ more of T5Model"):
        SentenceEncoder(tmp_path, max_tokens=9, batch_size=2)


@pytest.mark.parametrize(("method", "most"), [(tupate(), 15), (TextEmbSettings(), 12)])
def test_a_pair_longer_than_the_surrogates_positions_is_refused(snapshots, tmp_path, method, most):
    shutil.copytree(snapshots["causal"], tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    for positions, fits in ((most - 1, False), (most, True)):
        (tmp_path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": positions}))
        made = Embedder(tmp_path, surrogate_settings("causal"), method, "sha")
        if fits:
            made.embed(pairs(8))
        else:
            with pytest.raises(EmbeddingError, match=f"has {most} tokens.* the surrogate has {positions} positions"):
                made.embed(pairs(8))


def test_other_code_does_not_go_on_from_a_checkpoint(snapshots, tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "worth_keeping", lambda self, seconds: True)
    made = embedder(snapshots, "causal", tupate())
    first = made.embed(pairs(8), checkpoints=tmp_path)
    (kept,) = tmp_path.iterdir()
    again = made.embed(pairs(8), checkpoints=tmp_path, progress=lambda *_: pytest.fail("it was trained already"))
    np.testing.assert_array_equal(again.vector, first.vector)
    monkeypatch.setattr("fute.embeddings.embedder.code_sha256", lambda *modules: "newer code")
    with pytest.raises(ValueError, match=rf"{kept} is the checkpoint of another training \(differing: .* or code\)"):
        made.embed(pairs(8), checkpoints=tmp_path)


def test_save_and_load_give_all_back(snapshots, tmp_path):
    for number, method in enumerate((tupate(order_seeds=(1, 2)), taskemb())):
        made = embedder(snapshots, "causal", method).embed(pairs(1))
        path = tmp_path / f"{number}.safetensors"
        save(made, path)
        back = load(path)
        assert back.basis == made.basis and back.segments == made.segments and back.method == made.method
        assert back.meta == json.loads(json.dumps(made.meta))
        assert np.array_equal(back.vector, made.vector) and np.array_equal(back.orders, made.orders)
        assert (back.init is None) == (made.init is None)
        assert cosine(back, made) == pytest.approx(1, abs=1e-12)


def test_half_precision_keeps_what_it_says(snapshots, tmp_path):
    """fp16 after division by a tensor's largest entry: 11 bits of every entry that is not under 6e-5 of it."""
    made = embedder(snapshots, "causal", taskemb(order_seeds=(1, 2), store="float16")).embed(pairs(1))
    for name in ("float32", "float16"):
        save(made, tmp_path / name, store=name)
    with pytest.raises(ValueError, match="store is 'float8'; give one of float32, float16"):
        save(made, tmp_path / "float8", store="float8")
    whole, half = load(tmp_path / "float32"), load(tmp_path / "float16")
    assert half.vector.dtype == half.orders.dtype == np.float32
    largest = np.concatenate([np.full(j - i, whole.orders[:, i:j].max()) for _, i, j in whole.segments])
    large = whole.vector > 6.2e-5 * largest
    assert 0 < large.sum() < len(large)
    np.testing.assert_allclose(half.vector[large], whole.vector[large], rtol=2**-11)
    assert (np.abs(half.vector - whole.vector) <= largest * 3e-8 + whole.vector * 2**-11).all()
    assert half.vector[whole.vector > 3e-8 * largest].all(), "only smaller entries become 0"
    assert cosine(half, whole) > 1 - 1e-6
    sizes = [(tmp_path / name).stat().st_size for name in ("float32", "float16")]
    assert sizes[0] - sizes[1] >= 2 * (whole.vector.size + whole.orders.size) - 2000


@pytest.mark.parametrize("segments", [[], [("w", 0, 2), ("nothing", 2, 4)]])
@pytest.mark.parametrize("n_orders", [1, 2])
def test_half_precision_of_signed_entries_in_a_vector_with_and_without_segments(n_orders, segments, tmp_path):
    """fp16 ends at 65,504: without the division by the largest entry, -1e6 would be infinite."""
    orders = np.array([[2.0, -3.0, 0.0, 0.0], [1.0, -1e6, 0.0, 0.0]], dtype=np.float32)[-n_orders:]
    made = Embedding(orders.mean(0), "tupate", {}, {}, orders, segments=segments)
    save(made, tmp_path / "v", store="float16")
    found = load(tmp_path / "v")
    for half, whole in ((found.vector, made.vector), (found.orders, orders)):
        np.testing.assert_allclose(half, whole, rtol=2**-11, atol=1e6 * 6e-8)


@pytest.mark.parametrize("scope", ["encoder_decoder", "all"])
def test_wider_scopes_make_longer_vectors(snapshots, scope):
    found = embedder(snapshots, "encoder-decoder", tupate(epochs=8, scope=scope)).embed(pairs(1))
    parts = {"encoder_decoder": 4, "all": 6}[scope]
    assert found.vector.shape == (parts * 4 * 3 * 4,)
    assert found.meta["loss_end"] < found.meta["loss_start"]
    narrow = embedder(snapshots, "encoder-decoder", tupate()).embed(pairs(1))
    with pytest.raises(EmbeddingError, match="scope"):
        cosine(found, narrow)
    with pytest.raises(ValueError, match="causal"):
        embedder(snapshots, "causal", tupate(scope=scope))


def vector(*values: float, init=None, segments=(), method="tupate", **basis) -> Embedding:
    array = np.array(values, dtype=np.float32)
    start = None if init is None else np.array(init, dtype=np.float32)
    return Embedding(array, method, {"surrogate_sha256": "s"} | basis, {}, array[None], start, list(segments))


def test_cosines_by_hand():
    assert cosine(np.array([3.0, 4.0]), np.array([4.0, 3.0])) == pytest.approx(24 / 25)
    assert cosine(vector(1, 0), vector(-2, 0)) == -1
    a, b = vector(2, 1, init=(1, 1)), vector(1, 3, init=(1, 1))
    assert cosine(a, b) == pytest.approx(5 / np.sqrt(50)) and centred_cosine(a, b) == 0
    tensors = [("first", 0, 2), ("second", 2, 3)]
    c, d = vector(3, 4, 1, segments=tensors), vector(4, 3, 100, segments=tensors)
    assert tensor_mean_cosine(c, d) == pytest.approx((24 / 25 + 1) / 2)
    tensors += [("third", 3, 5), ("fourth", 5, 6)]
    e, f = vector(3, 4, 1, 0, 0, 0, segments=tensors), vector(4, 3, 100, 7, 8, 0, segments=tensors)
    assert tensor_mean_cosine(e, f) == pytest.approx((24 / 25 + 1 + 0) / 3), "third: of one alone"
    assert tensor_mean_cosine(e, e) == pytest.approx(1)
    nothing = vector(0, 0, 0, 0, 0, 0, segments=tensors)
    for pair in ((e, nothing), (nothing, nothing)):
        with pytest.raises(EmbeddingError, match="zero norm"):
            tensor_mean_cosine(*pair)
    root = (np.sqrt(12) * 2 + 10) / np.sqrt(8 * 107)
    squares = [vector(*values, method="taskemb") for values in ((3, 4, 1), (4, 3, 100))]
    assert sqrt_cosine(*squares) == pytest.approx(root)
    with pytest.raises(EmbeddingError, match="signed"):
        sqrt_cosine(c, d)


def test_cosine_refuses_what_has_no_meaning(snapshots):
    with pytest.raises(ValueError, match=r"init_sha256: 'a' and 'b'; scope: 'x' and '\(absent\)'"):
        cosine(vector(1, 2, init_sha256="a", scope="x"), vector(1, 2, init_sha256="b"))
    with pytest.raises(ValueError, match="zero"):
        cosine(np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="one length"):
        cosine(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="non-finite"):
        tensors = [("first", 0, 1), ("second", 1, 2)]
        tensor_mean_cosine(vector(1, np.inf, segments=tensors), vector(1, 1, segments=tensors))
    with pytest.raises(ValueError, match="no common start"):
        centred_cosine(vector(1, 2), vector(2, 1))
    with pytest.raises(TypeError):
        cosine(vector(1, 2), np.ones(2))
    one, other = (embedder(snapshots, "causal", tupate(init_seed=s)).embed(pairs(1)) for s in (1, 2))
    with pytest.raises(ValueError, match="init_sha256"):
        cosine(one, other)


def test_files_that_are_no_embedding_are_named(tmp_path):
    from safetensors.numpy import save_file

    save_file({"vector": np.ones(2, dtype=np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors holds no task embedding"):
        load(tmp_path / "other.safetensors")
