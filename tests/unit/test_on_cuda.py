"""Everything that a GPU computes, on a pretended one: no step mixes its tensors with the CPU's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from support.chat_llm import tiny_llm
from support.pretend_cuda import CUDA, pretend_cuda
from support.small_lms import SENTIMENT, SIMILAR, WHERE, mood_rows, save_small, similar_rows, where_rows
from support.stand_ins import FAMILIES, pairs, save_stand_in
from torch import Tensor

from fute.baselines import embed_dataset_step  # noqa: F401
from fute.baselines.taskemb import taskemb_components
from fute.baselines.textemb import text_embedding
from fute.baselines.tupate import PrefixedBlackBox, tune_prefix
from fute.blackbox.encoding import encode, encode_rows
from fute.blackbox.finetune import finetune
from fute.blackbox.heads import Pretrained, head_parameters, load_black_box, save_black_box, to_device
from fute.blackbox.predict import evaluate, predict
from fute.config.engines import EngineSettings
from fute.config.finetuning import FinetuneSettings
from fute.config.lm_baselines import PrefixRecipe
from fute.config.methods import BiasSettings, LoraSettings, TaskEmbSettings, TextEmbSettings, TupateSettings
from fute.config.models import TunedSettings
from fute.config.surrogate import SurrogateSettings
from fute.embeddings import embed_batch_step, encoder_states_step  # noqa: F401
from fute.embeddings.embedder import Embedder
from fute.embeddings.sentence_encoder import SentenceEncoder
from fute.llm import tune_llm_step
from fute.llm.engine import ScoreRequest
from fute.llm.transformers import TransformersEngine
from fute.surrogate.checkpoint import Checkpoint
from fute.surrogate.fisher import kernel
from fute.surrogate.fisher.squares import squared_outer_sums_reference
from fute.surrogate.labelled import ClassTarget, Labelled, NumberTarget, SoftTarget, SpanTarget
from fute.surrogate.states import compute_states, load_states, save_states
from fute.surrogate.text2text import load_surrogate


@pytest.fixture
def on_cuda(monkeypatch) -> Callable[..., Any]:
    """Runs work as on a machine with a GPU; its options are those of `pretend_cuda`."""

    def kernel_in_plain_torch(total, a, b):
        total += squared_outer_sums_reference(a, b).float()

    def run(work: Callable[[], object], **device: int) -> object:
        with monkeypatch.context() as patch, pretend_cuda(**device):
            for name, module in list(sys.modules.items()):
                if name.startswith("fute.") and hasattr(module, "compute_device"):
                    patch.setattr(module, "compute_device", lambda: CUDA)
            patch.setattr(Accelerator, "device", CUDA)
            patch.setattr(kernel, "add_squared_outer_sums_on_cuda", kernel_in_plain_torch)
            return work()

    return run


def surrogate(family: str, **options) -> SurrogateSettings:
    return SurrogateSettings(family=family, max_input_tokens=12, **options)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    root = tmp_path_factory.mktemp("snapshots")
    return {family: save_stand_in(root / family, family) for family in FAMILIES}


def recipe(kind: type, **options):
    return kind(**{"epochs": 1, "batch_size": 4, "learning_rate": 1e-2, "min_steps": 1} | options)


METHODS = {
    "tupate": (
        "encoder-decoder",
        lambda: recipe(TupateSettings, length=3, dropout=0.1, dropout_min_steps=0, min_relative_distance=0),
    ),
    "tupate, backbone dropout": (
        "encoder-decoder", lambda: recipe(TupateSettings, length=3, backbone_dropout=0.1, min_relative_distance=0),
    ),
    "tupate, all": ("encoder-decoder", lambda: recipe(TupateSettings, length=3, scope="all", min_relative_distance=0)),
    "tupate, causal": ("causal", lambda: recipe(TupateSettings, length=3, min_relative_distance=0)),
    "tupate, last layer": ("causal", lambda: recipe(TupateSettings, length=3, layers=1, min_relative_distance=0)),
    "lora": ("encoder-decoder", lambda: recipe(LoraSettings)),
    "lora, last layers": ("causal", lambda: recipe(LoraSettings, layers=2)),
    "bias": ("encoder-decoder", lambda: recipe(BiasSettings)),
    "textemb": ("encoder-decoder", lambda: TextEmbSettings()),
    "textemb, causal": ("causal", lambda: TextEmbSettings()),
    "taskemb": ("encoder-decoder", lambda: recipe(TaskEmbSettings, fisher_batch_size=8)),
    "taskemb, rows": ("encoder-decoder", lambda: recipe(TaskEmbSettings, fisher_batch_size=8, reduce="rows")),
    "taskemb, sampled": ("causal", lambda: recipe(TaskEmbSettings, labels="sampled", reduce="tensors")),
    "taskemb, last layer": ("causal", lambda: recipe(TaskEmbSettings, layers=1)),
    "taskemb, squares of means": ("encoder-decoder", lambda: recipe(TaskEmbSettings, reduction="batch_mean_square")),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_vectors(name, snapshots, on_cuda):
    family, settings = METHODS[name]

    def work() -> np.ndarray:
        embedder = Embedder(snapshots[family], surrogate(family), settings(), "sha")
        return embedder.embed(pairs(0, 10), held_out=pairs(1, 4), accuracy=True).vector

    np.testing.assert_allclose(on_cuda(work), work(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["tupate", "lora, last layers", "taskemb, last layer"])
def test_states_that_do_not_fit_on_the_device_stay_in_main_memory(name, snapshots, on_cuda):
    family, settings = METHODS[name]

    def work() -> tuple[np.ndarray, str]:
        embedder = Embedder(snapshots[family], surrogate(family), settings(), "sha")
        vector = embedder.embed(pairs(0, 10)).vector
        return vector, embedder._method._states._parts["train"].states.device.type

    (fits, there), (spills, here) = on_cuda(work), on_cuda(work, free=64)
    assert (there, here) == ("cuda", "cpu")
    np.testing.assert_array_equal(fits, spills)


TARGETS = {
    "class": lambda i: ClassTarget(i % 3, 3),
    "soft": lambda i: SoftTarget((0.25, 0.75) if i % 2 else (0.5, 0.5)),
    "number": lambda i: NumberTarget(float(i % 5)),
    "span": lambda i: SpanTarget(0, 3),
}


@pytest.mark.parametrize("target", TARGETS)
def test_vectors_of_heads(target, snapshots, on_cuda):
    said = [Labelled((pair.x[0], "the film was great"), TARGETS[target](i)) for i, pair in enumerate(pairs(0, 10))]

    def work() -> list[np.ndarray]:
        return [
            Embedder(snapshots[family], surrogate(family, form="heads"), METHODS[name][1](), "sha").embed(said).vector
            for family, name in (("encoder-decoder", "taskemb, rows"), ("causal", "tupate, last layer"))
        ]

    for here, there in zip(on_cuda(work), work(), strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-5)


def test_shared_states_and_a_resumed_training(snapshots, on_cuda, tmp_path):
    """With held-out rows, bf16 weights, and the state of a killed training, from which the second one goes on."""

    class Killed(Exception):
        pass

    def kill(done: int, total: int, loss: float) -> None:
        if done == 7:
            raise Killed

    def work() -> np.ndarray:
        settings = recipe(TupateSettings, length=3, min_relative_distance=0, max_epochs=4, patience=2, dropout=0.1)
        embedder = Embedder(
            snapshots["encoder-decoder"], surrogate("encoder-decoder", dtype="bfloat16"), settings, "sha"
        )
        states = compute_states(embedder._method.tuning, embedder.surrogate.encode(pairs(0)))
        save_states(states, tmp_path / "states")
        shared = load_states(tmp_path / "states").on(embedder.surrogate.device)
        how = {"dev": pairs(1), "states": shared, "checkpoints": tmp_path}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checkpoint, "due", True)
            with pytest.raises(Killed):
                embedder.embed(pairs(0), progress=kill, **how)
        seen: list[int] = []
        vector = embedder.embed(pairs(0), progress=lambda done, *_: seen.append(done), **how).vector
        assert seen[0] == 7, "it went on"
        for path in tmp_path.iterdir():
            path.unlink()
        whole = embedder.embed(pairs(0), dev=pairs(1), states=shared).vector
        np.testing.assert_array_equal(vector, whole)
        return vector

    np.testing.assert_allclose(on_cuda(work), work(), atol=2e-2)


TASKS = {"mood": (SENTIMENT, mood_rows, 1), "similar": (SIMILAR, similar_rows, 2), "where": (WHERE, where_rows, 2)}


@pytest.mark.filterwarnings("ignore:CUDA is not available:UserWarning")  # of autocast
@pytest.mark.parametrize(("family", "dataset"), [("bert", name) for name in TASKS] + [("gpt2", "mood"), ("t5", "mood")])
def test_black_boxes(family, dataset, on_cuda, tmp_path):
    task, rows_of, inputs = TASKS[dataset]
    pretrained, rows = Pretrained(save_small(tmp_path / "model", family)), rows_of(12)
    texts = [row.segments for row in rows]
    quick = FinetuneSettings(steps=12, batch_size=4, learning_rate=5e-3, max_tokens=60, dropout=False)

    def work() -> dict[str, np.ndarray]:
        accelerator, found = Accelerator(cpu=True), {}
        box = to_device(pretrained.with_head(task, inputs=inputs, max_tokens=60, seed=1), accelerator.device)
        start = {name: tensor.cpu().clone() for name, tensor in box.model.state_dict().items()}
        found["losses"] = np.array(
            finetune(box, rows, quick, seed=3, accelerator=accelerator, checkpoint=tmp_path / "state").losses
        )
        evaluate(box, rows, autocast=True)
        found["said"] = np.array([answer["prediction"] for answer in predict(box, texts)])
        save_black_box(box, tmp_path / "tuned")
        again = load_black_box(tmp_path / "tuned").model.state_dict()
        assert any(not torch.equal(tensor, start[name]) for name, tensor in again.items())
        transferred = pretrained.with_head(task, inputs=inputs, max_tokens=60, seed=1, source=box, keep_head=True)
        assert transferred.device.type == "cpu"
        found["textemb"] = text_embedding(box, encode(box, texts), batch_size=4)
        if family == "bert":
            found |= taskemb_components(box, [encode_rows(box, rows)])
            tuned = PrefixedBlackBox(box, head_parameters(box.model, pretrained.tensors), length=3, init_seed=0)
            fit = PrefixRecipe(epochs=4, batch_size=4, dropout=0.1)
            found["prefix"] = tune_prefix(tuned, encode_rows(box, rows), fit, seed=1, accelerator=accelerator).prefix
        return found

    here, there = on_cuda(work), work()
    for name, values in there.items():
        if name == "said":
            assert list(here[name]) == list(values)
        else:
            np.testing.assert_allclose(here[name], values, rtol=2e-2, atol=1e-3, err_msg=name)


def test_a_sentence_encoder(snapshots, on_cuda):
    def work() -> np.ndarray:
        encoder = SentenceEncoder(snapshots["encoder-decoder"], max_tokens=12, batch_size=4)
        return encoder.encode([pair.x for pair in pairs(0)])[0]

    np.testing.assert_allclose(on_cuda(work), work(), atol=1e-5)


def test_an_llm_of_transformers(on_cuda, tmp_path):
    folder = tiny_llm(tmp_path / "llm")
    settings = EngineSettings(engine="transformers", dtype="float32", answer_tokens=3, max_length=120, batch_size=2)
    classes = (("yes",), ("no",))
    asked = [ScoreRequest(str(i), f"Was it good? {'so ' * i}", None, classes) for i in range(4)]

    def work() -> tuple:
        engine = TransformersEngine(settings, folder)
        scores = engine.score(asked)
        likely = engine.perplexity([("a", "It was good."), ("b", "Bad.")])
        return [s.log_scores for s in scores], [s.text for s in scores], [p.mean_nll for p in likely]

    here, there = on_cuda(work), work()
    np.testing.assert_allclose(here[0], there[0], rtol=1e-4)
    assert here[1] == there[1]
    np.testing.assert_allclose(here[2], there[2], rtol=1e-4)


@pytest.mark.parametrize("layers", [1, None])
def test_tuning_an_llm(layers, snapshots, on_cuda):
    settings = TunedSettings(
        model="base", prompts={"sa": [1]}, datasets={"sa": ["mood"]}, layers=layers, epochs=1, batch_size=4,
        learning_rate=1e-2,
    )  # fmt: skip
    spec = SimpleNamespace(recipe=settings, seed=1)

    def work() -> Tensor:
        llm = load_surrogate(snapshots["causal"], surrogate("causal", dtype="bfloat16"))
        llm.model.to(tune_llm_step.compute_device())
        tune_llm_step.tune(llm, spec, llm.encode(pairs(0, 10)))
        return torch.cat([parameter.detach().float().cpu().flatten() for parameter in llm.model.parameters()])

    before = torch.cat(
        [p.flatten() for p in load_surrogate(snapshots["causal"], surrogate("causal")).model.parameters()]
    )
    assert (on_cuda(work) - before.detach()).abs().max() > 5e-3


def test_tensors_of_two_devices_are_refused(on_cuda):
    def work() -> None:
        there = torch.ones(2, 3, device=CUDA)
        here = torch.ones(2, 3)
        for mixed in (
            lambda: there + here, lambda: torch.cat([there, here]), lambda: there.index_select(0, torch.arange(2)),
            lambda: here[torch.arange(2, device=CUDA)], lambda: torch.nn.functional.linear(there, here),
        ):  # fmt: skip
            with pytest.raises(RuntimeError, match="found at least two devices, cuda:0 and cpu"):
                mixed()
        with pytest.raises(TypeError, match="can't convert cuda:0"):
            there.numpy()
        with pytest.raises(RuntimeError, match="cannot pin"):
            there.pin_memory()
        assert (there * 2.0)[torch.arange(1)].cpu().numpy().tolist() == [[2.0, 2.0, 2.0]]

    on_cuda(work)
