"""The language-model experiment on the report page, rendered from the made-up matrix: alone, and beside the other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from support.html_page import PNG, Page
from support.synthetic_lm import DATASETS, baselines, similarities, transfer
from support.synthetic_report import synthetic_context

from fute.evaluation.lm_evaluation_step import TransferSettings, lm_evaluation
from fute.paper.efficiency import COST_COLUMNS, COUNT_COLUMNS
from fute.paper.report import ReportContext, render_report
from fute.paper.report_parts import ReportFigure
from fute.paper.report_step import LmTexts, ReportSettings, lm_results, report
from fute.paper.transfer_tables import LEFT_OUT, PAPER_BLOCK

RESOURCES = Path(__file__).parents[3] / "resources"
LM_HEADINGS = [
    "Table 1: choosing a model to transfer from",
    "What Table 1 shows",
    "Table 1, target by target",
    "Table 2: domain-specific targets",
    "What Table 2 shows",
    "Table 2, target by target",
    "Direct scores beside the majority baseline",
    "Figures 3 and A1",
    "What the embeddings cost",
]
MAP = "Map of the embeddings"


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation of the made-up matrix, for one model."""
    folder = tmp_path_factory.mktemp("evaluation")
    given = {"transfer": transfer(), "similarities": similarities(), "baselines": baselines()}
    paths = {name: folder / f"{name}.csv" for name in (*given, "table1", "table2")}
    paths |= {name: folder / f"lm_{name}.csv" for name in ("targets", "direct")}
    for name, frame in given.items():
        frame.to_csv(paths[name], index=False)
    similarities().to_csv(folder / "lm_similarities.csv", index=False)
    settings = TransferSettings(
        surrogate="s", methods=("taskemb", "tupate"), models=("m-one",), datasets=DATASETS, draws=50, permutations=200
    )
    lm_evaluation(settings, **paths)
    times = {"surrogate": "s", "method": ["taskemb", "tupate"], "vectors": 20, "measured": 20, "seconds": [61.0, 30.0]}
    pd.DataFrame(times).assign(seconds_each=[3.05, 1.5]).to_csv(folder / "efficiency-lm-embeddings.csv", index=False)
    for name, columns in {"calls": COUNT_COLUMNS, "costs": COST_COLUMNS}.items():  # without rows: no LLM is asked
        pd.DataFrame(columns=columns).to_csv(folder / f"efficiency-lm-{name}.csv", index=False)
    at = {"view": "raw", "tsne_x": 1.0, "tsne_y": 2.0, "pca_x": 3.0, "pca_y": 4.0}
    points = [{"method": "tupate", "model": "m-one", "dataset": name, "title": each.title, "class": each.group} | at
              for name, each in DATASETS.items()]  # fmt: skip
    pd.DataFrame(points).to_csv(folder / "lm_coordinates.csv", index=False)
    return folder


def texts(folder: Path, tables: tuple[str, ...]) -> LmTexts:
    captions = yaml.safe_load((RESOURCES / "captions.yaml").read_text(encoding="utf8"))
    (folder / "fig3.png").write_bytes(PNG)
    figure = ReportFigure(base=str(folder / "fig3"), title="Figure 3", caption="Points.")
    return LmTexts(tables={name: captions[name] for name in tables}, figures=(figure,))


def written(folder: Path, evaluation: Path, tables: tuple[str, ...] = ("table1", "table2")) -> str:
    """The page of a run that has the language-model experiment alone, as the step writes it."""
    settings = ReportSettings(
        title="T", lede="L", note="Made up.", settings={"Language models": "M One"}, files={"results": "all"},
        lm=texts(folder, tables), llm=None,
    )  # fmt: skip
    out = folder / "report.html"
    report(
        settings,
        evaluation=evaluation,
        printed=RESOURCES / "paper",
        benchmarks=folder / "none",
        counts=[],
        inputs=[],
        output=out,
    )
    return out.read_text()


def both(folder: Path, evaluation: Path) -> ReportContext:
    results = lm_results(texts(folder, ("table1", "table2")), evaluation, RESOURCES / "paper")
    return replace(synthetic_context(folder), lm=results)


def section(html: str, anchor: str) -> str:
    return html.split(f'<section id="{anchor}"')[1].split("</section>")[0]


def test_the_page_of_this_experiment_alone(tmp_path, evaluation):
    html = written(tmp_path, evaluation)
    page = Page(html)
    assert page.headings == ["What was run", "Did the surrogates learn?", *LM_HEADINGS, MAP, "Times", "Files"]
    assert all(len(set(rows)) == 1 for rows in page.tables), "rows of a table differ in width"
    ids = [values["id"] for _, values in page.attributes if "id" in values]
    assert len(ids) == len(set(ids))
    assert "Table 3" not in html and html.count("<img ") == 1


def test_a_point_of_the_map_says_its_score_and_the_nearest_targets(tmp_path, evaluation):
    (only,) = json.loads(written(tmp_path, evaluation).partition('id="map-data">')[2].partition("</script>")[0])
    assert only["title"] == "Fine-tuned models, FUTE + TuPaTE" and only["class"][:5] == ["cr"] * 4 + ["qa"]
    cosines = similarities().query("method == 'tupate' and model == 'm-one' and source != target")
    own = cosines[cosines["source"] == "cr-b"].sort_values("cosine", ascending=False).head(3)
    nearest = ", ".join(f"{row.target} {row.cosine:.4f}" for row in own.itertuples())
    direct = pd.read_csv(evaluation / "lm_direct.csv").query("target == 'cr-b'")["direct"].item()
    assert only["said"][1][:3] == [
        "m-one, fine-tuned on cr-b", f"{direct:.1f} on its own test rows", f"most similar targets, by cosine: {nearest}"
    ]  # fmt: skip
    best = cosines.loc[cosines.groupby("target")["cosine"].idxmax()]
    assert only["best"] == [name in set(best["source"]) for name in DATASETS]


def test_similarities_that_cannot_be_trusted_have_a_section_of_their_own(tmp_path, evaluation):
    results = lm_results(texts(tmp_path, ("table1",)), evaluation, RESOURCES / "paper")
    odd = similarities().assign(no_vector="")
    odd.loc[(odd["method"] == "tupate") & (odd["target"] == "cr-b"), "unknown_tokens"] = 0.5
    context = replace(synthetic_context(tmp_path), llm=None, lm=replace(results, similarities=odd))
    headings = Page(html := render_report(context)).headings
    assert headings.index("Similarities that cannot be trusted") + 1 == headings.index("Figures 3 and A1")
    assert "does not know up to 50% of the tokens that the vectors for cr-b" in section(html, "lm-similarities")


def test_without_domain_targets_there_is_no_table_2(tmp_path, evaluation):
    page = Page(written(tmp_path, evaluation, ("table1",)))
    assert page.headings[2:7] == [*LM_HEADINGS[:3], *LM_HEADINGS[6:8]]


def test_our_values_stand_with_intervals_above_the_papers(tmp_path, evaluation):
    text = section(written(tmp_path, evaluation), "table1")
    row = pd.read_csv(evaluation / "table1.csv").query("method == 'FUTE + TuPaTE' and cell == 'qa-all-class'").iloc[0]
    ours, papers = text.split(PAPER_BLOCK)
    assert f"{row['ndcg']:.1f}" in ours
    assert f'<span class="interval">{row["ndcg_lo"]:.1f}–{row["ndcg_hi"]:.1f}</span>' in ours
    assert ">11.4</td>" in papers.split("</table>")[0], "DataSize of QA all-class, as printed"
    assert "interval" not in papers.split("</table>")[0]
    assert f"{row['ndcg_p']:.3f}" in papers.split("</table>")[1]


def test_targets_that_are_left_out_are_marked(tmp_path, evaluation):
    html = written(tmp_path, evaluation)
    direct = pd.read_csv(evaluation / "lm_direct.csv")
    lost = set(direct.loc[~direct["counted"], "target"])
    assert lost, "the made-up matrix has one"
    for target in direct["target"]:
        assert (f">{target} {LEFT_OUT}<" in section(html, "direct")) == (target in lost)
    plain = section(html, "table2-targets")
    assert "Best: the source" in plain and LEFT_OUT not in plain, "a mark that is not there is not explained"
    known = direct.query("target == 'cr-a'").iloc[0]
    assert f"<td>{known['direct']:.1f}</td><td>{known['majority']:.1f}</td>" in section(html, "direct")


def test_without_several_seeds_nothing_is_said_of_the_true_order(tmp_path, evaluation):
    context = both(tmp_path, evaluation)
    assert "The true order of the sources" in section(render_report(context), "table1")
    tables = [replace(t, cells=t.cells[t.cells["method"] != "Estimated true order"]) for t in context.lm.tables]
    html = render_report(replace(context, lm=replace(context.lm, tables=tables)))
    assert "true order of the sources" not in section(html, "table1")


def test_both_experiments_on_one_page(tmp_path, evaluation):
    context = both(tmp_path, evaluation)
    page = Page(render_report(context))
    alone = Page(render_report(replace(context, lm=None))).headings
    assert page.headings == [*alone[:2], *LM_HEADINGS, *alone[2:-2], MAP, *alone[-2:]]
    ids = [values["id"] for _, values in page.attributes if "id" in values]
    assert len(ids) == len(set(ids))


def test_scores_of_less_than_one_percent_are_printed(tmp_path, evaluation):
    context = both(tmp_path, evaluation)
    weak = context.lm.direct.assign(direct=0.6)  # a correlation of models that learned nothing
    html = render_report(replace(context, lm=replace(context.lm, direct=weak)))
    assert "<td>0.6</td>" in section(html, "direct")


def test_planted_tests_come_first(tmp_path, evaluation):
    (evaluation / "planted.csv").write_text(
        "test,method,similarity,measure,boxes,target,value,lo,hi,chance,p,passes\n"
        "flips,tupate-lora,cosine,spearman,7,mean,0.96,0.6,0.99,0,0.002,True\n"
        "flips,tupate-lora,cosine,spearman,7,sst2,0.96,0.6,0.99,0,0.002,True\n"
        "own,label-histogram,cosine,mrr,8,mean,0.3,0.2,0.5,0.34,0.6,False\n"
    )
    (tmp_path / "planted.png").write_bytes(PNG)
    planted = ReportFigure(base=str(tmp_path / "planted"), title="Planted", caption="Ladders.")
    made = texts(tmp_path, ("table1",)).model_copy(update={"planted": planted})
    html = render_report(
        replace(synthetic_context(tmp_path), llm=None, lm=lm_results(made, evaluation, RESOURCES / "paper"))
    )
    assert Page(html).headings[0] == "Is an order found that is there?"
    text = section(html, "planted")
    assert "0.60 to 0.99" in text and "passes" in text and "label histogram (baseline)" in text
    assert text.count("TuPaTE by LoRA") == 1 and "<img" in text
