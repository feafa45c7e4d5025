"""Verbalizers with and without a blank, where a SentencePiece model may write either."""

import pytest
from support.chat_llm import sentencepiece_tokenizer, tiny_tokenizer

from fute.config.engines import EngineSettings
from fute.llm.engine import PromptTokenizer, ScoreRequest
from fute.llm.scoring import _class_ids

SETTINGS = EngineSettings(engine="transformers", score="sequence")


def template(before: str, blank: str = "") -> str:
    return (
        "{% for m in messages %}{% if m['role'] == 'user' %}<s>[INST] {{ m['content'] }}" + before + "{% else %}"
        + blank + "{{ m['content'] }}</s>{% endif %}{% endfor %}"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        (sentencepiece_tokenizer(template(" [/INST]")), ["yes", " yes"]),  # Mistral's older template
        (sentencepiece_tokenizer(template(" [/INST]", " ")), [" yes"]),
        (sentencepiece_tokenizer(template("\n")), ["yes"]),  # Zephyr's
        (sentencepiece_tokenizer(template("</s>")), ["yes"]),
        (sentencepiece_tokenizer(template(" [/INST]"), "never"), ["yes"]),  # Gemma's tokenizer
        (tiny_tokenizer(template(" [/INST]")), ["yes"]),
    ],
)
def test_a_word_counts_with_the_blank_that_the_template_lacks(tokenizer, words):
    prompts = PromptTokenizer(tokenizer, SETTINGS, 4096)
    rendered = prompts.render("a film")
    (ids,) = _class_ids(prompts, [rendered], [ScoreRequest("r", "a film", None, (("yes",), ("no",)))], SETTINGS)
    [before, *wanted] = prompts.encode([rendered, *(rendered + word for word in words)])
    assert ids[0] == [whole[len(before) :] for whole in wanted]
    assert prompts.identity().get("answer_leads") == (["", " "] if len(words) == 2 else None)
