"""`fute view`: the page of a run, on results written by hand; its map in a browser where there is one."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.browser import opened
from support.html_page import Page
from support.own_runs import make_runs
from support.synthetic_lm import GATE
from support.vectors import put_covariance

from fute.artifacts import gzip_bytes, jsonl_bytes
from fute.front import view
from fute.front.rank import ranked
from fute.front.view import page, view_run
from fute.paper import interactive_map
from fute.paper.terminal import NoResults

HOSTILE = """</script><script>alert("1")</script><img src=x onerror='alert(2)'> & {{ 7 * 7 }} <b>%{x}</b> ]]> <!--"""
PROMPTS = [f"Yes? {HOSTILE.replace('{{ 7 * 7 }}', '{text}').replace('%{x}', '')}", "No? {text}"]
LIBRARY = interactive_map._library
KNOWN = GATE | {"unknown_tokens": 0.0}


@pytest.fixture(autouse=True)
def results(here: Path, monkeypatch) -> Path:
    """A run of two prompts and one of three models, and results of the first; without the library, which is large."""
    monkeypatch.setattr(interactive_map, "_library", lambda: ("", "'sha256-none'"))
    make_runs(PROMPTS)
    front = {"method": "labelcov", "model": "smollm2-135m"}
    of_data = front | {"dataset": "mine-data"}
    ids = ("mine-1", "mine-2")
    dealt = {"null-1": 0.0, "null-2": 0.001, "one_order_cosine": 0.4}
    table("similarities", [of_data | {"prompt": name, "cosine": cosine, "category": "mine"} | KNOWN | dealt
                           for name, cosine in zip(ids, (0.1, 0.4), strict=True)])  # fmt: skip
    table("controls", [of_data | {"sd_order_noise": float("nan"), "order_df": float("nan")}])
    table(
        "performance",
        [of_data | {"prompt": name, "n": 4, "accuracy": a} for name, a in zip(ids, (25.0, 75.0), strict=True)],
    )
    table("coordinates", [front | {"prompt": name, "category": "mine", "number": n, "cot": False, "view": "raw"}
                          | {"tsne_x": n, "tsne_y": -n, "pca_x": 0.5, "pca_y": n / 2}
                          for n, name in enumerate((*ids, "other-1"))])  # fmt: skip
    texts = [f"text {n}" if n else HOSTILE for n in range(40)]
    lines("unsup/mine", [{"id": f"u/{n}", "segments": [text]} for n, text in enumerate(texts)])
    # of 40 texts the first prompt says yes for all, the second no for the last 36, surer and surer
    for prompt, odds in (("mine-1", [0.1] * 40), ("mine-2", [0.1] * 4 + [0.55 + n / 100 for n in range(36)])):
        lines(f"labels/smollm2-135m/{prompt}/mine", [answer(f"u/{n}", no) for n, no in enumerate(odds)])
    lines(
        "data/mine-data/test", [{"id": f"t/{n}", "label": label} for n, label in enumerate(("no", "no", "no", "yes"))]
    )
    lines("labels/smollm2-135m/mine-1/mine-data", [answer(f"t/{n}", 0.2) for n in range(4)])
    lines("labels/smollm2-135m/mine-2/mine-data", [answer(f"t/{n}", no) for n, no in enumerate((0.9, 0.9, 0.2, 0.1))])
    return here / "results"


def answer(key: str, no: float) -> dict:
    label = "no" if no > 0.5 else "yes"
    return {"id": key, "classes": ["no", "yes"], "prediction": label, "probabilities": [no, 1 - no]}


def table(name: str, rows: list[dict]) -> None:
    Path("results/evaluation").mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(f"results/evaluation/{name}.csv", index=False)


def lines(name: str, rows: list[dict]) -> None:
    path = Path(f"results/{name}.jsonl.gz")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip_bytes(jsonl_bytes(rows)))


def html(name: str = "mine") -> str:
    return page(ranked(name, Path("results")), name)


def words(text: str) -> str:
    """The text of a page as one line, without its scripts and styles."""
    return " ".join(" ".join(Page(text[text.index("<main>") : text.index("</main>") + len("</main>")]).text).split())


def maps(text: str) -> list[dict]:
    return json.loads(text.partition('id="map-data">')[2].partition("</script>")[0])


def test_the_page_has_the_ranking_as_fute_rank_prints_it():
    said = words(html())
    assert "Prompts of smollm2-135m for mine-data use prompt mine-2; by LabelCov it is ahead of every" in said
    assert "1 mine-2 0.4000 0.3000 75.0 No? {text}" in said
    assert "On 4 test rows the best score, 75.0 %, is that of prompt mine-2" in said


def test_a_point_says_prompt_score_and_mistakes():
    (only,) = maps(html())
    assert only["title"] == "Prompts, LabelCov" and only["label"] == ["mine-1", "mine-2"], "other-1 is of another run"
    assert only["best"] == [False, True] and only["tsne"] == [[0.0, 1.0], [0.0, -1.0]]
    assert only["pca"] == [[0.5, 0.5], [0.0, 0.5]]
    assert only["said"][1] == [
        "prompt mine-2 of smollm2-135m", "No? {text}",
        "for mine-data: place 1 of 2, LabelCov 0.4000, 75.0 % on test rows",
        "most frequent mistake: no taken for yes, 1 of 4 rows",
    ]  # fmt: skip
    assert only["colours"]["class"] == {"mine": ["mine", "#e69f00"]}
    assert only["colours"]["model"] == {"smollm2-135m": ["smollm2-135m", "#e69f00"]}


def test_labels_of_u_and_confusions_are_counted():
    said = words(html())
    assert "Prompt no yes mine-2 90.0 10.0 mine-1 0.0 100.0" in said
    assert "Test rows by mine-2: their class (rows) and label (columns) Class no yes no 2 1 yes 0 1" in said


def test_confusions_of_many_candidates_are_those_of_the_first(monkeypatch):
    monkeypatch.setattr(view, "MOST_CONFUSIONS", 1)
    said = words(html())
    assert "Confusion on test rows of the first 1 Test rows by mine-2" in said and "Test rows by mine-1" not in said


def test_the_surest_differences_stand_first():
    said = words(html())
    assert "They differ on 36 of 40 texts; the 30 with the largest difference are shown." in said
    assert "Text of U mine-2 mine-1 text 39 no yes text 38 no yes" in said
    assert "text 10 no yes" in said and "text 9 no yes" not in said


def test_own_words_stay_words():
    lines("labels/smollm2-135m/mine-1/mine", [{"id": f"u/{n}", "prediction": HOSTILE} for n in range(40)])
    text = html()
    parsed = Page(text)
    tags = Counter(tag for tag, _ in parsed.attributes)
    assert tags["script"] == 4 and tags["img"] == tags["b"] == 0, "the data, the library, the map's and the page's own"
    assert not [name for _, values in parsed.attributes for name in values if name.startswith("on")]
    assert text.count("alert(2)") == text.count("onerror=") and words(text).count("alert(2)") >= 3
    assert "{{ 7 * 7 }}" in words(text) and HOSTILE.split()[0] in words(text)
    assert "".join(maps(text)[0]["said"][0][1:3]).startswith('Yes? </script><script>alert("1")</script>')


def test_nothing_is_loaded_from_elsewhere():
    text = html()
    loads = [values.get(name) for _, values in Page(text).attributes for name in ("src", "href") if name in values]
    assert loads == ["data:,"]
    policy = next(v["content"] for _, v in Page(text).attributes if v.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe-inline'; img-src" in policy


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("evaluation/coordinates.csv", "There is no map: results/evaluation has no coordinates of these"),
        ("labels/smollm2-135m/mine-1/mine.jsonl.gz", "There are no labels of U by mine-1."),
        ("unsup/mine.jsonl.gz", "There is no file results/unsup/mine.jsonl.gz."),
    ],
)
def test_a_part_that_is_missing_is_named(gone, said):
    (Path("results") / gone).unlink()
    assert said in words(html())


def test_without_test_rows_there_are_no_confusions():
    Path("results/data/mine-data/test.jsonl.gz").unlink()
    text = html()
    assert "Confusion" not in words(text) and "mistake" not in json.dumps(maps(text))


def test_rows_without_a_label_are_counted_and_free_answers_get_no_table():
    lines("labels/smollm2-135m/mine-1/mine", [answer("u/0", 0.9), {"id": "u/1", "prediction": None}])
    assert "Prompt no yes no label mine-2 90.0 10.0 mine-1 50.0 0.0 50.0" in words(html())
    lines("labels/smollm2-135m/mine-1/mine", [{"id": f"u/{n}", "prediction": f"answer {n}"} for n in range(70)])
    assert "The answers are no classes: there are 72 different ones." in words(html())


def test_a_damaged_file_is_named():
    Path("results/unsup/mine.jsonl.gz").write_bytes(b"\x1f\x8b nothing")
    with pytest.raises(ValueError, match=r"^results/unsup/mine\.jsonl\.gz cannot be read \(.*; remove it, and run"):
        html()


def test_too_few_points_for_t_sne_have_a_pca():
    place = {"tsne_x": float("nan"), "tsne_y": float("nan"), "pca_x": 1.0, "pca_y": 2.0}
    front = {"method": "labelcov", "model": "smollm2-135m", "category": "mine", "view": "raw"}
    table("coordinates", [front | place | {"prompt": "mine-1"}])
    (only,) = maps(html())
    assert only["tsne"] is None and only["pca"] == [[1.0], [2.0]]


def test_models_and_sources_are_points_of_their_datasets():
    front = {"method": "labelcov", "target": "stars", "no_vector": "", "unknown_tokens": 0.0} | GATE
    rows = [
        front | {"model": m, "source": s, "cosine": c}
        for m, s, c in (("a", "stars", 0.3), ("b", "stars", 0.5), ("a", "films", 0.2), ("a", "news", 0.6))
    ]
    table("lm_similarities", rows)
    table(
        "lm_coordinates",
        [
            {"method": "labelcov", "model": m, "dataset": d, "title": d, "class": "cr", "view": "raw"}
            | {"tsne_x": n, "tsne_y": n, "pca_x": n, "pca_y": n}
            for n, (m, d) in enumerate([("a", "stars"), ("b", "stars"), ("a", "films"), ("a", "news"), ("b", "films")])
        ],
    )
    text = page(view._all(Path("results")), "all")
    of_prompts, of_models = maps(text)
    assert of_prompts["label"] == ["mine-1", "mine-2"]
    assert dict(zip(of_models["label"], of_models["best"], strict=True)) == {
        "stars, a": False, "stars, b": True, "films, a": False, "news, a": True,
    }  # fmt: skip
    assert of_models["said"][0][1:] == [
        "for stars: place 2 of 2, LabelCov 0.3000", "the target of the ranking for stars"
    ]  # fmt: skip
    assert "There are no labels of U by b, a." in words(text)


def vector(name: str, *rows: list[float], **meta: str) -> None:
    path = f"results/embeddings/minilm-l6/labelcov/{name}.safetensors"
    put_covariance(path, rows, ("no", "yes")[: len(rows)], **meta)


def test_candidates_and_their_dataset_are_on_one_map():
    vector("dte/mine-data", [1.0, 0.0], [-1.0, 0.0])
    vector("mte/smollm2-135m/mine-1", [0.0, 1.0], [0.0, -1.0])
    vector("mte/smollm2-135m/mine-2", [0.9, 0.1], [-0.9, -0.1])
    _, both = maps(html())
    assert both["title"] == "Prompts and datasets, LabelCov" and both["label"] == ["mine-2", "mine-1", "mine-data"]
    assert both["tsne"] is None and both["said"][2] == ["dataset mine-data"]
    places = np.transpose(both["pca"])
    assert np.linalg.norm(places[0] - places[2]) < 0.2 < np.linalg.norm(places[1] - places[2])
    assert both["colours"]["model"] == {"smollm2-135m": ["smollm2-135m", "#e69f00"], "dataset": ["dataset", "#1f2328"]}
    vector("mte/smollm2-135m/mine-2", [0.0, 0.0], no_vector="it says the same of all texts")
    assert maps(html())[1]["label"] == ["mine-1", "mine-data"]


def test_models_to_start_from_have_a_map_without_coordinates():
    front = {"test": "start", "method": "labelcov", "target": "start", "source": "start"}
    cosines = {"bert-base": (0.5, 60.0), "gpt2": (0.3, 70.0), "minilm-l6": (0.1, 80.0)}
    table("planted_similarities", [front | {"model": model, "cosine": cosine, "quality": score} | KNOWN
                                   for model, (cosine, score) in cosines.items()])  # fmt: skip
    vector("dte/start", [1.0, 0.0], [-1.0, 0.0])
    for n, model in enumerate(cosines):
        vector(f"mte/{model}/start", [1.0, n], [-1.0, -n])
        lines(f"labels/{model}/start/lm", [answer(f"u/{each}", each / 10 + n / 5) for each in range(10)])
    lines("unsup/lm", [{"id": f"u/{n}", "segments": [f"text {n}", "and more"]} for n in range(10)])
    text = html("start")
    (only,) = maps(text)
    assert only["label"] == [*cosines, "start"] and only["best"] == [True, False, False, False]
    assert only["said"][0] == [
        "bert-base, fine-tuned on start", "for start: place 1 of 3, LabelCov 0.5000, 60.0 % on test rows"
    ]  # fmt: skip
    assert len(only["tsne"][0]) == 4
    assert "Model no yes bert-base 40.0 60.0 gpt2 60.0 40.0 minilm-l6 80.0 20.0" in words(text)
    assert "They differ on 2 of 10 texts. Text of U bert-base gpt2 text 4 and more yes no" in words(text)


def test_the_page_goes_into_the_run_s_folder_and_is_opened(monkeypatch, capsys):
    opened: list[str] = []
    monkeypatch.setattr(view.webbrowser, "open", lambda address: opened.append(address) or True)
    capsys.readouterr()
    assert view_run("mine", Path("results"), None, False) == Path("mine/view.html") and not opened
    assert "wrote mine/view.html" in capsys.readouterr().out
    path = view_run(None, None, Path("a/b.html"), True)
    assert opened == [path.absolute().as_uri()] and "mine-data" in path.read_text(encoding="utf8")
    with pytest.raises(NoResults, match="no similarities for dataset 'moons'"):
        view_run("moons", None, Path("a/moons.html"), True)
    assert not Path("a/moons.html").exists() and len(opened) == 1


DRIVER = """
document.getElementById("map").addEventListener("drawn", () => {
const seen = [];
const text = (id) => document.getElementById(id).textContent;
const count = () => document.querySelectorAll("#map .points path").length;
const click = (name) => document.querySelector(`[data-${name}]`).click();
seen.push(count(), document.querySelector("[data-view=tsne]").getAttribute("aria-pressed"));
click("view=pca");
seen.push(document.querySelector("[data-view=pca]").getAttribute("aria-pressed"), text("map").includes("component 1"));
click("colour=model");
const map = document.getElementById("map");
map.focus();
map.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
seen.push(text("said").split("\\n")[0], map.querySelector(".hoverlayer").textContent.includes("<b></b> ]]> <!--"));
seen.push(map.querySelectorAll(".hoverlayer b, .hoverlayer script, img[src=x]").length);
const filter = document.getElementById("filter");
filter.value = "NO? {text}";
filter.dispatchEvent(new Event("input"));
seen.push(count(), text("count"));
const head = [...document.querySelectorAll("th button")].find((button) => button.textContent === "Test, %");
head.click();
seen.push(document.querySelector("table.sortable tbody th").textContent, document.activeElement.id);
console.log("driven " + JSON.stringify(seen));
});
"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser: chromium is not on the path")
def test_the_map_works_in_a_browser_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(interactive_map, "_library", LIBRARY)
    text = html()
    assert 1e6 < len(text.encode()) < 3e6
    assert opened(text, DRIVER, tmp_path) == [
        2, "true", "true", True, "prompt mine-1 of smollm2-135m", True, 0, 1, "1 of 2 points", "mine-1", "map",
    ]  # fmt: skip
