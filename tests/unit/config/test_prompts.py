"""Prompts: the paper's twenty-six, filling them, and every way a prompt file can be wrong."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.categories import ENTRIES, prompt

from fute.config import prompts as module
from fute.config.engines import EngineSettings
from fute.config.prompts import answer_line, fill, followup, unusable_words, user_message

FOLDER = Path(__file__).parents[3] / "config" / "prompts"


def load_prompts(path, category="sa"):
    return module.load_prompts(path, category, ENTRIES[category])


SA, NLI = (load_prompts(FOLDER / f"{category}.yaml", category) for category in ("sa", "nli"))


@pytest.mark.parametrize(("prompts", "category"), [(SA, "sa"), (NLI, "nli")])
def test_the_papers_prompts_are_complete(prompts, category):
    assert [prompt.id for prompt in prompts] == [f"{category}-{number}" for number in range(1, 14)]
    assert [prompt.cot for prompt in prompts] == [False] * 10 + [True] * 3
    for plain, reasoned in zip(prompts[:3], prompts[10:], strict=True):
        assert reasoned.template == plain.template + " Reason step by step before answering."
        assert reasoned.verbalizers == plain.verbalizers


def test_prompts_that_must_tie_are_equal():
    for one, other in ((3, 9), (6, 10)):
        first, second = SA[one - 1], SA[other - 1]
        assert (first.template, first.verbalizers) == (second.template, second.verbalizers)


def test_templates_as_a_reader_of_the_paper_expects_them():
    text = "Fine {text} 100 %"
    assert fill(SA[0], [text]) == f"Does the movie review below make someone want to watch it? \n\n{text}"
    assert fill(SA[6], [text]) == f"{text} \nIs this review positive or negative?"
    assert fill(NLI[0], ["A.", "B"]) == "Given that A. Does it follow that B yes, no, or maybe?"
    assert fill(NLI[3], ["A.", "B"]) == (
        'Take the following as truth: A.\nThen the following statement: "B" is true, false, or maybe?'
    )
    assert SA[1].verbalizers == {"negative": ("bad", "Bad", "negative"), "positive": ("good", "Good", "positive")}
    assert list(NLI[8].verbalizers.values()) == [("always", "Always"), ("sometimes", "Sometimes"), ("never", "Never")]


@given(premise=st.text(), hypothesis=st.text())
def test_filling_never_touches_the_text(premise, hypothesis):
    assert fill(NLI[1], [premise, hypothesis]) == (
        premise + " Using only the above description and what you know about the world, "
        '"' + hypothesis + '" is definitely correct, incorrect, or uncertain?'
    )


def test_braces_of_the_data_are_data():
    assert fill(NLI[2], ["{hypothesis}", "{premise}\\1"]) == (
        "{hypothesis}\nQuestion: {premise}\\1 true, false, or maybe?"
    )


def test_the_number_of_segments_must_fit():
    with pytest.raises(ValueError, match="zip"):
        fill(SA[0], ["a", "b"])
    with pytest.raises(ValueError, match="zip"):
        fill(NLI[0], ["a"])


@pytest.mark.parametrize("prompt", SA + NLI, ids=lambda prompt: prompt.id)
def test_lines_around_the_template(prompt):
    segments = ["one", "two"][: 1 if prompt.category == "sa" else 2]
    words = ", ".join(word for words in prompt.verbalizers.values() for word in words)
    assert words in answer_line(prompt)
    assert user_message(prompt, segments) == fill(prompt, segments) + "\n" + answer_line(prompt)
    if prompt.cot:
        assert "reasoning" in answer_line(prompt) and words in followup(prompt)
    else:
        assert answer_line(prompt).startswith("Answer in lower case, without explanation, with one of: ")
        assert followup(prompt) is None


@pytest.mark.parametrize("cot", [False, True])
def test_words_with_capitals_are_not_asked_for_in_lower_case(cot):
    words = {"negative": ["Bad"], "positive": ["good", "Good"]}
    asked = [answer_line, followup][cot](prompt("sa", id="a", number=1, template="{text}", verbalizers=words, cot=cot))
    assert asked in (
        "Answer without explanation, with one of: Bad, good, Good.",
        "Now give only your final answer, without explanation, as one of: Bad, good, Good.",
    )


def write(tmp_path, *entries, category="sa"):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"category": category, "prompts": list(entries)}, sort_keys=False))
    return path


def prompt_entry(position, **changes):
    entry = {
        "id": f"own-{position}",
        "number": position,
        "template": "{text} Good?",
        "verbalizers": {"negative": ["no"], "positive": ["yes"]},
    } | changes
    return {key: value for key, value in entry.items() if value is not ...}


def test_own_prompts_are_sorted_by_number(tmp_path):
    prompts = load_prompts(write(tmp_path, prompt_entry(2, cot=True), prompt_entry(1)))
    assert [prompt.id for prompt in prompts] == ["own-1", "own-2"]
    assert prompts[0] == prompt("sa", **prompt_entry(1)) and prompts[1].cot


def test_classes_are_known_by_name_not_by_position():
    words = {"positive": ["yes"], "negative": ["no"]}
    assert list(prompt("sa", **prompt_entry(1) | {"verbalizers": words}).verbalizers) == ["negative", "positive"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"template": "{text} {titel}"}, r"unknown placeholder \{titel\}"),
        ({"template": "Good?"}, r"template has no \{text\}"),
        ({"template": "{text} {"}, "single brace"),
        ({"template": "{text} {}"}, r"unknown placeholder \{\}"),
        (
            {"template": '{text} {"label": 1}'},
            r"with `form: jinja` the text is \{\{text\}\}, and single braces",
        ),
        ({"verbalizers": {"negative": ["no"], "happy": ["yes"]}}, "classes negative, positive, not negative, happy"),
        ({"verbalizers": {"negative": ["no"], "positive": []}}, "key verbalizers: .*class positive has no word"),
        ({"verbalizers": {"negative": ["no"], "positive": [" "]}}, "' ' is an empty word, which no answer is: give"),
        ({"verbalizers": {"negative": [" "], "positive": [" "]}}, "' ' is an empty word, which no answer is: give"),
        ({"verbalizers": {"negative": ["no"], "positive": ["No"]}}, "'No' stands for negative and for positive"),
        ({"number": 0}, "key number"),
        ({"id": "Own 1"}, "key id"),
        ({"template": ...}, "key template: Field required"),
        ({"temperature": 1}, "key temperature: unknown key"),
    ],
)
def test_bad_entries_name_file_entry_and_key(tmp_path, changes, message):
    path = write(tmp_path, prompt_entry(1), prompt_entry(2, **changes))
    with pytest.raises(match=rf"own\.yaml, entry 2 \(.*\).*{message}"):
        load_prompts(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([prompt_entry(1), prompt_entry(2, id="own-1")], "id 'own-1' is given to 2 prompts"),
        ([prompt_entry(1), prompt_entry(1, id="other")], "number 1 is given to 2 prompts"),
        ([], "at least one prompt"),
        (["{text} Good?"], "entry 1: must be a mapping"),
    ],
)
def test_bad_lists_are_refused(tmp_path, entries, message):
    with pytest.raises(match=message):
        load_prompts(write(tmp_path, *entries))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("category: sa\n", "must hold the keys category and prompts"),
        ("[a\n", "is not YAML"),
        (
            "- template: Stars: {text}\n",
            r"is not YAML(.|\n)*; correct it; a template with a colon, .* must stand in quotes",
        ),
        ("category: sa\ncategory: nli\n", "the key 'category' is given twice"),
        ("category: qa\nprompts: [{id: a}]\n", "is of category 'qa', not 'sa'; correct it there"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(match=rf"own\.yaml.*{message}"):
        load_prompts(path)


@pytest.mark.parametrize(
    ("words", "engine", "problem"),
    [
        ([[" bad"], ["good"]], {}, "' bad' has blanks around it, and answers are compared without: write 'bad'"),
        ([["bad"], ["good\n"]], {"score": "sequence"}, "has blanks around it"),
        ([["it is bad"], ["it is good"]], {}, "begin with the same word 'it'"),
        ([["no"], ["no idea"]], {}, "begin with the same word 'no'"),
        ([["no", "not bad"], ["yes", "not good"]], {}, "begin with the same word 'not'"),
        ([["it is bad"], ["it is good"]], {"score": "sequence"}, None),
        ([["1"], ["10"]], {"engine": "openai"}, "'10' begins with '1', a word of another class"),
        ([["1"], ["10"]], {}, None),
        ([["incorrect"], ["correct"]], {"engine": "openai"}, None),
        ([["very bad"], ["quite good"]], {"engine": "openai"}, None),
    ],
)
def test_words_that_cannot_be_matched_or_told_apart(words, engine, problem):
    said = unusable_words(words, EngineSettings(**{"engine": "transformers"} | engine))
    assert said is None if problem is None else problem in said


@pytest.mark.parametrize("word", [" bad", "bad ", "bad\n", "\u3000bad"])
def test_a_word_with_blanks_around_it_is_refused_where_it_is_read(tmp_path, word):
    path = write(tmp_path, prompt_entry(1, verbalizers={"negative": [word], "positive": ["good"]}))
    with pytest.raises(match=r"own\.yaml, entry 1 \(own-1\), key verbalizers: .*has blanks around it"):
        load_prompts(path)
