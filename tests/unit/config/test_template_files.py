"""Prompts in the files of PromptSource and lm-evaluation-harness."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jinja2
import pytest

from fute.config.categories import CategoryEntry
from fute.config.prompts import Prompt, fill, own_prompts, user_message
from fute.config.sections import ConfigError
from fute.plan.llm_labels import prompt_words

ENTRY = CategoryEntry(classes=("negative", "positive"), segments=("sentence",))
SOURCE = """
dataset: mine
templates:
  11d1c505-9232-4c35-82a4-4c3642843e2e: !Template
    answer_choices: bad ||| good
    id: 11d1c505-9232-4c35-82a4-4c3642843e2e
    jinja: 'Is this review "{{sentence}}" {{answer_choices[0]}} or {{ answer_choices[1] }}?

      |||

      {{ answer_choices[label] }}'
    metadata: !TemplateMetadata
      choices_in_prompt: true
    name: Said, or not? (1)
  228fcae7-7f4c-4e3c-9ac4-e49b26bc103d: !Template
    answer_choices: null
    jinja: "{{ sentence }} How does the reader feel? ||| {{ answer_choices[label] }}"
    name: feels
"""
HARNESS = """
task: mine_sst
dataset_path: glue
description: "Read. "
doc_to_text: "{{sentence}}\\nQuestion: good or bad?\\nAnswer:"
doc_to_target: label
doc_to_choice: ["bad", "good"]
metadata: {version: 1.0}
"""


def prompts(folder: Path, text: str, entry: CategoryEntry = ENTRY):
    path = folder / "p.yaml"
    path.write_text(text)
    return own_prompts(path, "films", entry, 0)


def test_promptsource_templates(tmp_path):
    first, second = prompts(tmp_path, SOURCE)
    assert (first.id, first.number, second.id, second.number) == ("said-or-not-1", 1, "feels", 2)
    assert fill(first, ["It {is} <b>fine</b>"]) == 'Is this review "It {is} <b>fine</b>" bad or good?'
    assert first.verbalizers == {"negative": ("bad",), "positive": ("good",)}
    assert fill(second, ["Fine."]) == "Fine. How does the reader feel?"
    assert second.verbalizers == {"negative": ("negative",), "positive": ("positive",)}


def test_a_task_of_the_harness(tmp_path):
    (one,) = prompts(tmp_path, HARNESS)
    assert one.id == "mine-sst" and one.verbalizers["positive"] == ("good",)
    assert fill(one, ["It is fine."]) == "Read. It is fine.\nQuestion: good or bad?\nAnswer:"
    (column,) = prompts(tmp_path, "doc_to_text: sentence\ndoc_to_choice: [bad, good]\n")
    assert fill(column, ["It is fine."]) == "It is fine."


def test_words_that_are_the_names_of_the_classes_belong_to_these(tmp_path):
    (one,) = prompts(tmp_path, "doc_to_text: sentence\ndoc_to_choice: [Positive, Negative]\n")
    assert one.verbalizers == {"negative": ("Negative",), "positive": ("Positive",)}


@pytest.mark.parametrize("text", ["plain", "A long text, of many words. And more.", "<b>{{7*7}}</b>", "{ a brace"])
@pytest.mark.parametrize(
    "template",
    [
        "{{ sentence | upper }} {brace} {{ answer_choices | join(' or ') }}?",
        "{% if sentence | length > 10 %}Long: {{ sentence }}{% else %}Short: {{ sentence }}{% endif %}",
        "{% for word in sentence.split() %}{{ loop.index }} {{ word }}\n{% endfor %}",
        "{{ sentence.split('.')[0] }} {{ answer_choices[1] | replace('\"', '') }}, {{answer_choices[-1]}}",
    ],
)
def test_filters_and_conditions_are_rendered_as_jinja_does(tmp_path, template, text):
    words = ["bad", 'go"od \\ ü 😀']
    written = {"doc_to_text": template, "doc_to_choice": words}
    (one,) = prompts(tmp_path, json.dumps(written, ensure_ascii=False))
    assert one.form == "jinja"
    assert fill(one, [text]) == jinja2.Template(template).render(sentence=text, answer_choices=words).strip()
    assert user_message(one, [text]).startswith(fill(one, [text]) + "\n")


def test_a_text_that_a_template_says_nothing_of_is_named(tmp_path):
    (one,) = prompts(tmp_path, "doc_to_text: '{% if sentence != \"dull\" %}{{sentence}}{% endif %}'\n")
    assert fill(one, ["fine"]) == "fine" and one.shown == "{sentence}"
    with pytest.raises(match="prompt task: its template gives no words for the text that begins 'dull'"):
        fill(one, ["dull"])
    (one,) = prompts(tmp_path, "doc_to_text: '{{ sentence.split()[3] }}'\n")
    with pytest.raises(match=r"cannot be filled: .*no element 3 \(the text that begins 'a b'"):
        fill(one, ["a b"])


def test_a_prompt_of_one_s_own_may_be_jinja_s():
    one = Prompt(id="a", number=1, category="films", segments=("sentence",), classes=("bad", "good"), form="jinja",
                 template="{{ sentence | lower }}?", verbalizers={"bad": ("bad",), "good": ("good",)})  # fmt: skip
    assert fill(one, ["Fine"]) == "fine?" and one.shown == "{sentence}?"
    plain = one.model_copy(update={"form": "braces"})
    assert "form" not in prompt_words(plain) and prompt_words(one)["form"] == "jinja"


@pytest.mark.parametrize("text", ["plain", "{{7*7}}", "a\n\n  b", "ünï {% raw %}", "  "])
def test_filling_is_what_jinja_gives(tmp_path, text):
    template = 'Say "{{ sentence }}" again:\n {{answer_choices[1]}}, {# a remark #}or not'
    (one,) = prompts(tmp_path, f"doc_to_text: {json.dumps(template)}\ndoc_to_choice: [bad, good]\n")
    shown = jinja2.Template(template.strip()).render(sentence=text, answer_choices=["bad", "good"])
    assert fill(one, [text]) == shown


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("doc_to_text: !function utils.text\n", "could not determine a constructor for the tag '!function'"),
        ("doc_to_text: !!python/name:os.system\n", "could not determine a constructor"),
        ("doc_to_text: '{{ sentence | choice }}'\n", "is no jinja template: No filter named 'choice'. (line 1)"),
        ("doc_to_text: '{{ [sentence, 1] | random }}'\n", "No filter named 'random'"),  # other words every time
        ("doc_to_text: '{{ sentence | trim }} of {{ author | trim }}'\n", "the unknown placeholder {author}"),
        ("doc_to_text: '{{ sentence.__class__ }}'\n", "template cannot be filled: access to attribute '__class__' of"),
        ("doc_to_text: '{{ sentence.author }}'\n", "template cannot be filled: 'str object' has no attribute 'author'"),
        ("doc_to_text: '{{ answer_choices }} {{sentence}}'\n", "has the unknown placeholder {answer_choices}"),
        ("doc_to_text: '{{sentence}} {{answer_choices[2]}}'\ndoc_to_choice: [a, b]\n", "list object has no element 2"),
        ("doc_to_text: '{{ sentence }'\n", "is no jinja template"),
        ("doc_to_text: '{{text}}'\n", "template has the unknown placeholder {text}"),
        ("doc_to_text: 'no text'\n", "template has no {sentence}"),
        ("doc_to_text: [a]\n", "doc_to_text must be a template or the name of a column"),
        ("doc_to_text: '{{sentence}}'\ndoc_to_choice: [a, b, c]\n", "has 3 choices (a, b, c) for 2 classes"),
        ("doc_to_text: '{{sentence}}'\ndoc_to_choice: '{{choices}}'\n", "doc_to_choice must be a list of words"),
        ("doc_to_text: '{{sentence}}'\ndoc_to_choice: [so, so]\n", "'so' stands for negative and for positive"),
        ("templates: {}\n", "templates: holds no template"),
        ("templates: {a: {name: b}}\n", "template a: must have the key jinja"),
        ("templates: {a: {name: b, jinja: '{{sentence}}'}}\n", "template 'b': has no ||| between the prompt"),
        (
            "templates: {a: {name: b, jinja: '{% if label %}{{sentence}} ||| x{% endif %}'}}\n",
            "template 'b': its ||| stands inside a condition or loop",
        ),
        (
            "templates: {a: {jinja: '{{sentence}} ||| x', answer_choices: '{{c}}'}}\n",
            "answer_choices depend on the row",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, text, words):
    with pytest.raises(match=re.escape(words)) as caught:
        prompts(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'p.yaml'}")


def test_every_template_that_cannot_be_used_is_named(tmp_path):
    text = "templates:\n  a: {name: one, jinja: '{{x|f}} ||| y'}\n  b: {name: two, jinja: '{{sentence}}'}\n"
    with pytest.raises(ConfigError) as caught:
        prompts(tmp_path, text)
    lines = str(caught.value).splitlines()
    assert ["'one'" in lines[0], "'two'" in lines[1], "take these templates out" in lines[2]] == [True] * 3
