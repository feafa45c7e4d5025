"""The report page, rendered from synthetic results: made-up numbers, never a run."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from support.browser import opened
from support.categories import TITLES
from support.html_page import PNG, Page
from support.synthetic_report import synthetic_context

from fute.display_names import duration
from fute.paper import interactive_map
from fute.paper.cells import format_cell
from fute.paper.grids import prompt_grid
from fute.paper.report import ReportContext, render_report
from fute.paper.report_maps import llm_maps
from fute.paper.report_step import timings

ROOT = Path(__file__).parents[3]
DATASETS = {"sa": ("rotten-tomatoes", "sst2", "imdb"), "nli": ("wanli", "cb", "anli")}
CLASSES = {"sa": ("positive", "negative"), "nli": ("entailment", "neutral", "contradiction")}


def with_llm(context: ReportContext, **changes: object) -> ReportContext:
    return replace(context, llm=replace(context.llm, **changes))


@pytest.fixture
def context(tmp_path: Path) -> ReportContext:
    return synthetic_context(tmp_path)


def test_page_is_well_formed_and_complete(context):
    page = Page(render_report(context))
    assert page.headings == [
        "What was run",
        "Did the surrogates learn?",
        "Table 3: choosing a prompt",
        "What Table 3 shows",
        "Beside the paper",
        "Selection per dataset",
        "Performance of the prompts",
        "Similarities",
        "Controls",
        "Figures 4 and A2",
        "What embeddings and prompts cost",
        "Times",
        "Files",
    ]
    ids = [values["id"] for _, values in page.attributes if "id" in values]
    assert len(ids) == len(set(ids))
    links = [values["href"] for tag, values in page.attributes if tag == "a"]
    assert [link.removeprefix("#") for link in links] == ids[::2]
    assert all(len(set(rows)) == 1 for rows in page.tables), "rows of a table differ in width"


def test_page_needs_nothing_from_outside(context):
    html = render_report(context)
    page = Page(html)
    for tag, values in page.attributes:
        assert tag not in {"script", "link", "iframe"}
        assert values.get("src", "data:").startswith("data:")
    assert "http:" not in html.lower() and "https:" not in html.lower()
    assert not re.search(r"@import|url\(", html)
    image = next(values for tag, values in page.attributes if tag == "img")
    assert base64.b64decode(image["src"].partition(",")[2]) == PNG
    assert image["alt"] == "Figure 4. Task embeddings."


MAPPED = {"sa": 1, "nli": 2}
"""Category -> the prompt of it that is a point of the map."""


@pytest.fixture
def mapped(context, monkeypatch) -> ReportContext:
    """The context with coordinates of two prompts by two methods; the library is left out."""
    monkeypatch.setattr(interactive_map, "_library", lambda: ("", "'sha256-none'"))
    at = {"tsne_x": 1.0, "tsne_y": 2.0, "pca_x": 3.0, "pca_y": 4.0}
    front = {"model": "smollm2-135m", "number": 1, "cot": False}
    rows = [front | at | {"method": method, "prompt": prompt, "category": category, "view": view}
            for method, view in (("taskemb", "raw"), ("tupate", "raw"), ("tupate", "centred"))
            for category, prompt in MAPPED.items()]  # fmt: skip
    coordinates = pd.DataFrame(rows)
    return with_llm(context, coordinates=coordinates, colours={"sa": "#2f6db3", "nli": None})


def test_the_map_names_prompts_places_and_scores(mapped):
    html = render_report(with_llm(mapped, prompts={1: "Good </script><b>?"}))
    page = Page(html)
    assert page.headings[-3:] == ["Map of the embeddings", "Times", "Files"]
    maps = json.loads(html.partition('id="map-data">')[2].partition("</script>")[0])
    assert [each["title"] for each in maps] == [
        "Prompts, FUTE + TaskEmb", "Prompts, FUTE + TuPaTE", "Prompts, FUTE + TuPaTE, centred"
    ]  # fmt: skip
    said = maps[1]["said"][0]
    assert said[:2] == ["prompt 1 of smollm2-135m", "Good </script><b>?"]
    similar, performance = mapped.llm.similarities, mapped.llm.performance
    of_cb = similar.query("method == 'tupate' and dataset == 'cb'").set_index("prompt")["cosine"]
    accuracy = performance.query("dataset == 'cb' and prompt == 1")["accuracy"].item()
    place = int((of_cb > of_cb[1]).sum()) + 1
    assert f"for cb: place {place} of 4, cosine {of_cb[1]:.4f}, {accuracy:.1f} % on test rows" in said
    assert any(f"cosine {of_cb[1] - 0.5:.4f}" in line for line in maps[2]["said"][0])
    assert maps[1]["colours"]["class"]["sa"] == [TITLES["sa"], "#2f6db3"]


def test_the_map_counts_the_answers_of_a_prompt_by_rows(mapped):
    """900 rows of one dataset and 100 of another: 10 % and 90 % are 18 % of all of them."""
    performance = mapped.llm.performance[lambda rows: rows["prompt"] == 1].head(2)
    shares = performance.assign(n=[900, 100], share_yes=[0.1, 0.9], share_no=[0.9, 0.1])
    kept = shares[[name for name in shares if not name.startswith("share_") or name in ("share_yes", "share_no")]]
    (of_one, *_) = llm_maps(
        mapped.llm.coordinates[lambda rows: rows["prompt"] == 1], mapped.llm.similarities, kept, prompts={},
        categories={"sa": ("SA", "red"), "nli": ("NLI", "blue")},
    )  # fmt: skip
    assert of_one["said"][0][-1] == "labels of test rows: yes 18 %, no 82 %"


def test_a_page_with_a_map_loads_nothing_and_is_the_same_again(mapped):
    html = render_report(mapped)
    assert html == render_report(mapped)
    page = Page(html)
    assert [values.get("src") for tag, values in page.attributes if tag in ("script", "link")] == [None] * 3
    policy = next(v["content"] for _, v in page.attributes if v.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-none' 'sha256-")
    ids = [values["id"] for _, values in page.attributes if "id" in values]
    assert len(ids) == len(set(ids))


DRIVER = """
const map = document.getElementById("map");
map.addEventListener("drawn", () => {
  const count = () => map.querySelectorAll(".points path").length;
  const seen = [count()];
  map.focus();
  map.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  seen.push(document.getElementById("said").textContent.split("\\n")[0]);
  seen.push(map.querySelectorAll(".hoverlayer text").length > 0);
  const chosen = document.getElementById("map-of");
  chosen.value = "2";
  chosen.dispatchEvent(new Event("change"));
  document.querySelector("[data-view=pca]").click();
  const filter = document.getElementById("filter");
  filter.value = "is it BAD";
  filter.dispatchEvent(new Event("input"));
  seen.push(count(), document.getElementById("count").textContent);
  console.log("driven " + JSON.stringify(seen));
});
"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser: chromium is not on the path")
def test_the_report_s_map_works_in_a_browser_without_a_network(mapped, tmp_path, monkeypatch):
    monkeypatch.undo()
    text = render_report(with_llm(mapped, prompts={1: "Is it good?", 2: "Is it bad?"}))
    assert 1e6 < len(text.encode()) < 3e6
    assert opened(text, DRIVER, tmp_path) == [2, "prompt 1 of smollm2-135m", True, 1, "1 of 2 points"]


def test_every_heading_cell_has_a_scope_and_every_table_a_caption(context):
    page = Page(render_report(context))
    assert all(values.get("scope") for tag, values in page.attributes if tag == "th")
    assert sum(tag == "caption" for tag, _ in page.attributes) == len(page.tables)


def test_values_and_intervals_are_printed(context):
    table3 = context.llm.table3.copy()
    chosen = (table3["category"] == "sa") & (table3["method"] == "FUTE + TuPaTE")
    table3.loc[chosen, ["performance", "performance_lo", "performance_hi"]] = [66.04, 61.26, 70.0]
    html = render_report(with_llm(context, table3=table3))
    assert '<strong>66.0</strong><span class="interval">61.3–70.0</span>' in html
    assert "85.1†" in html
    assert "1 h 07 min" in html and "1 min 03 s" in html


@pytest.mark.parametrize("value", [43.15, 1.85, 0.05, -0.04, -3.25])
def test_a_number_is_rounded_as_in_the_tables(value):
    """43.15 is a little less than it says: numpy would round it up, the tables do not."""
    frame = pd.DataFrame({"model": ["m"], "prompt": ["1"], "dataset": ["d"], "accuracy": [value]})
    (row,) = prompt_grid(frame, "made up", {"accuracy": "Accuracy"}).groups[0].rows
    assert row.cells[0].text.replace("−", "-") == format_cell(value)


def test_a_rule_whose_job_was_killed_has_no_time(tmp_path, context):
    (tmp_path / "label_batch").mkdir()  # made before the job starts
    (tmp_path / "mte").mkdir()
    (tmp_path / "mte/a.tsv").write_text("s\th:m:s\n90\t0:01:30\n")
    measured = timings(tmp_path)
    assert measured.to_dict("records") == [{"rule": "mte", "jobs": 1, "seconds": 90.0}]
    assert "1 min 30 s" in render_report(replace(context, timings=measured))


def test_names_are_escaped(context):
    name = 'a<b & "c"'
    renamed = {
        field: getattr(context.llm, field).assign(model=name)
        for field in ("table3", "selection", "performance", "similarities", "controls")
    }
    html = render_report(with_llm(replace(context, settings={"Models": name}, note="5 < 6 & 7"), **renamed))
    assert name not in html
    assert name in "".join(Page(html).text)
    assert "5 &lt; 6 &amp; 7" in html


def test_note_stands_above_the_numbers_and_only_when_given(context):
    html = render_report(context)
    assert html.index(context.note) < html.index("<table>")
    assert 'role="note"' not in render_report(replace(context, note=""))


def test_runs_without_controls_embeddings_and_times_say_so(context):
    empty = pd.DataFrame()
    html = render_report(with_llm(replace(context, timings=empty), controls=empty, similarities=empty))
    assert "No control was run" in html
    assert "computed no task embeddings" in html
    assert "No benchmark files" in html
    rows = context.llm.controls[["method", "model", "dataset"]].assign(order_p=float("nan"), verdict="")
    assert "No control was run" in render_report(with_llm(context, controls=rows)), (
        "a row without a value is no control"
    )


def test_categories_that_the_paper_does_not_have_stand_beside_nothing(context):
    own = {name: getattr(context.llm, name).replace({"category": {"sa": "mine", "nli": "yours"}})
           for name in ("table3", "selection", "performance", "similarities")}  # fmt: skip
    html = render_report(with_llm(context, titles={"mine": "Mine", "yours": "Yours"}, **own))
    assert "Beside the paper" in render_report(context) and "Beside the paper" not in html


def test_bold_similarity_is_the_selected_prompt(context):
    one = context.llm.similarities.query("method == 'tupate' and dataset == 'cb'").copy()
    one["cosine"], one["centred_cosine"] = [0.91, 0.95, 0.93, 0.92], [0.1, 0.2, 0.4, 0.3]
    html = render_report(with_llm(context, similarities=one)).split('id="similarities"')[1].split("</section>")[0]
    assert re.findall(r"<strong>([\d.]+)</strong>", html) == ["0.9500", "0.4000"]


def test_vectors_from_unknown_tokens_are_marked(context):
    one = context.llm.similarities.copy()
    one.loc[one["method"] == "taskemb", "unknown_tokens"] = 0.06
    html = render_report(with_llm(context, similarities=one)).split('id="similarities"')[1].split("</section>")[0]
    assert html.count("does not know up to 6% of the tokens") == 1
    assert "does not know" not in render_report(context)


def test_prompts_whose_words_are_unlikely_are_named(context):
    """Coverage: the probability of the words of all classes, before it is shared out among them."""
    performance = context.llm.performance.assign(coverage=0.2)
    assert "Coverage of" not in render_report(with_llm(context, performance=performance))
    performance.loc[(performance["prompt"] == 2) & (performance["dataset"] == "cb"), "coverage"] = 0.19
    page = render_report(with_llm(context, performance=performance))
    assert (
        page.count("Coverage of smollm2-135m is under 0.2 with 2: it would seldom answer with a word of a class") == 1
    )


def test_the_costs_of_prompts_stand_in_the_page(context):
    """Two models with three prompts on three datasets: 3 x 100 calls for U, 9 x 50 for the baselines, 0.5 s each."""
    html = render_report(context).split('id="efficiency"')[1].split("</section>")[0]
    texts = [re.sub("<[^>]+>", " ", row).split() for row in html.split("<tr")]
    assert ["SA", "300", "9,000", "0", "450", "13,500", "0", "2.00", "0.50"] in [row[1:10] for row in texts], texts
    costs = ["FUTE", "+", "TuPaTE", "30.00", "25.00", "1.20", "1.50", "180.00", "150.00", "225.00"]
    assert costs in [row[1:11] for row in texts]


def test_pairs_without_a_vector_are_named(context):
    one = context.llm.similarities.query("method == 'tupate'").assign(
        method="labelcov", surrogate="minilm", no_vector=""
    )
    silent = (one["prompt"] == 2) & (one["dataset"].isin(["cb", "sst2"]))
    one.loc[silent, ["cosine", "no_vector"]] = 0.0, "it says the same of all texts"
    html = render_report(with_llm(context, similarities=one)).split('id="similarities"')[1].split("</section>")[0]
    assert (
        "LabelCov: one of the two has no vector in smollm2-135m 2 with sst2 and smollm2-135m 2 with cb (it says the "
        "same of all texts), so that their similarity counts as 0." in html
    )
    assert "SA: LabelCov, encoder minilm." in html, "it has no surrogate"


def test_datasets_that_were_not_learned_stand_at_the_top(context):
    html = render_report(context)
    assert html.index('id="run"') < html.index('id="learning"') and "did not learn" not in html
    one = context.llm.similarities.copy()
    one.loc[(one["method"] == "tupate") & (one["dataset"] == "cb"), ["dte_learned", "dte_held_out_loss"]] = "no", 7.6
    html = render_report(with_llm(context, similarities=one))
    assert html.index('id="learning"') < html.index('id="run"')
    section = html.split('id="learning"')[1].split("</section>")[0]
    assert "FUTE + TuPaTE: on held-out rows, the surrogate knows no more of cb" in section
    assert "7.60" in section and section.count("<td") and "did not learn</td>" in section
    one.loc[one["prompt"] == 2, "mte_learned"] = "no"
    section = render_report(with_llm(context, similarities=one)).split('id="learning"')[1].split("</section>")[0]
    assert "model embeddings did not learn their black box" in section


def test_vectors_without_training_have_no_gate(context):
    one = context.llm.similarities.assign(mte_learned=None, dte_learned=None)
    assert 'id="learning"' not in render_report(with_llm(context, similarities=one))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (245, "4 min 05 s"), (7620, "2 h 07 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
