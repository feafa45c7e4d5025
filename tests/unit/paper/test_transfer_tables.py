"""Tables 1 and 2: layout and files of a made-up matrix, the paper's printed numbers, and the sentences on them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from support.synthetic_lm import DATASETS, FOLDER, baselines, similarities, transfer

from fute.evaluation.lm_evaluation_step import TransferSettings, lm_evaluation
from fute.paper.cells import MISSING, best_cells
from fute.paper.formats import to_csv, to_latex
from fute.paper.similarity_warnings import no_vector_note
from fute.paper.transfer_table_step import TransferTableSettings, transfer_table
from fute.paper.transfer_tables import (
    LAYOUTS,
    LEFT_OUT,
    LEFT_OUT_NOTE,
    METHODS,
    PAPER_BLOCK,
    TABLE1,
    TABLE2,
    above_paper,
    p_values,
    per_target,
    per_target_caption,
    read_printed,
    transfer_frame,
    transfer_intervals,
)
from fute.paper.transfer_verdicts import direct_sentences, transfer_sentences

RESOURCES = Path(__file__).parents[3] / "resources"
PRINTED = {name: RESOURCES / f"paper/{name}.csv" for name in LAYOUTS}
ENDS = [f"{metric}{end}" for metric in ("rho", "ndcg")
        for end in ("", "_lo", "_hi", "_minus_random_lo", "_minus_random_hi", "_p")]  # fmt: skip


def ours(models=("m-a",), methods=("Random", "FUTE + TuPaTE", "DataSize"), layout=TABLE1) -> pd.DataFrame:
    """Made-up rows: every cell differs."""
    rows = [{"model": m, "cell": c, "method": t} for m in models for c in layout.cells for t in methods]
    frame = pd.DataFrame(rows)
    for place, end in enumerate(ENDS):
        frame[end] = np.arange(len(frame)) / 4 + 10 * place + 2
    return frame.assign(**{f"{metric}{end}": 0.5 for metric in ("rho", "ndcg") for end in ("_p", "_p_worse")})


# ---- layout


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_printed_tables_survive_as_they_are(name):
    """As text: a printed 7.0 stays 7.0, and a dash stays empty."""
    block = read_printed(PRINTED[name], LAYOUTS[name])
    written = pd.read_csv(io.StringIO(to_csv(block, LAYOUTS[name].column_names)), dtype=str, keep_default_na=False)
    expected = pd.read_csv(PRINTED[name], dtype=str, keep_default_na=False).drop(columns="note").replace("-", "")
    assert set(written.pop("model")) == {PAPER_BLOCK}
    pd.testing.assert_frame_equal(written, expected)
    assert set(expected["method"]) <= set(METHODS)


def test_printed_cells():
    block = read_printed(PRINTED["table1"], TABLE1)
    assert block.loc[(PAPER_BLOCK, "DataSize"), ("QA all-class", "ρ")] == 11.4
    assert np.isnan(block.loc[(PAPER_BLOCK, "CurveGrad"), ("CR all-class", "NDCG")])
    domain = read_printed(PRINTED["table2"], TABLE2)
    assert domain.loc[(PAPER_BLOCK, "TuPaTE")].tolist() == [10.7, 73.8]


def test_rows_and_columns_are_the_papers_and_values_fall_in_their_cells():
    rows = ours(
        models=("m-b", "m-a"),
        methods=("Estimated true order", "FUTE + TuPaTE (centred)", "TextEmb", "Random", "DataSize"),
    )
    frame = transfer_frame(rows.sample(frac=1, random_state=0).sort_values("model", ascending=False), TABLE1)
    methods = ["DataSize", "TextEmb", "FUTE + TuPaTE (centred)", "Random", "Estimated true order"]
    assert list(frame.index) == [(model, method) for model in ("m-b", "m-a") for method in methods]
    heads = ("CR in-class", "CR all-class", "QA in-class", "QA all-class")
    assert list(frame.columns) == [(head, metric) for head in heads for metric in ("ρ", "NDCG")]
    for row in rows.itertuples():
        head = TABLE1.cells[row.cell]
        assert frame.loc[(row.model, row.method), (head, "ρ")] == row.rho
        assert frame.loc[(row.model, row.method), (head, "NDCG")] == row.ndcg
    text = transfer_intervals(rows, TABLE1).loc[("m-b", "Estimated true order"), ("CR in-class", "ρ")]
    assert text == f"{rows['rho_lo'][0]:.1f}–{rows['rho_hi'][0]:.1f}"


def test_cells_that_were_not_computed_are_dashes():
    rows = ours().query("cell != 'qa-in-class' and not (method == 'DataSize' and cell == 'cr-all-class')")
    frame = transfer_frame(rows, TABLE1)
    assert frame["QA in-class"].isna().all(axis=None)
    assert to_csv(frame, TABLE1.column_names).splitlines()[1].split(",")[4:8] == [""] * 4
    assert r"DataSize & 2.5 & \textbf{62.5} & -- & -- & -- & -- & 4.8" in to_latex(frame, caption="C", label="l")
    empty = transfer_frame(rows.head(0), TABLE1)
    assert empty.empty and above_paper(empty, read_printed(PRINTED["table1"], TABLE1)).shape == (7, 8)


def test_classes_without_a_dataset_have_no_columns():
    rows = ours().query("cell in ('cr-in-class', 'cr-all-class')")
    layout = TABLE1.of(rows)
    assert layout.column_names == ["cr_in_class_rho", "cr_in_class_ndcg", "cr_all_class_rho", "cr_all_class_ndcg"]
    frame = above_paper(transfer_frame(rows, layout), read_printed(PRINTED["table1"], layout))
    assert list(dict.fromkeys(frame.columns.get_level_values(0))) == ["CR in-class", "CR all-class"]
    assert frame.loc[(PAPER_BLOCK, "DataSize"), ("CR all-class", "ρ")] == 7.8
    assert TABLE1.of(ours()) == TABLE1 == TABLE1.of(rows.head(0)) and TABLE2.of(ours(layout=TABLE2)) == TABLE2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(cell="nli-in-class"), "table 1: unknown cell nli-in-class"),
        (lambda f: f.replace({"method": {"DataSize": "Magic"}}), "table 1: unknown method 'Magic'; a variant is"),
    ],
)
def test_wrong_input_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        transfer_frame(change(ours()), TABLE1)


def test_the_best_rank_is_the_lowest_and_references_and_variants_are_none():
    rows = ours(methods=("DataSize", "TextEmb", "TuPaTE", "TuPaTE (centred)", "Estimated true order"), layout=TABLE2)
    rows["rho"], rows["ndcg"] = [3.04, 3.0, 5.5, 1.0, 1.0], [70.0, 60.0, 71.0, 99.0, 100.0]
    best = best_cells(transfer_frame(rows, TABLE2))["Finance and medicine"].droplevel("model")
    assert best.index[best["ρ"]].tolist() == ["DataSize", "TextEmb"]
    assert best.index[best["NDCG"]].tolist() == ["TuPaTE"]
    printed = read_printed(PRINTED["table1"], TABLE1)
    both = best_cells(above_paper(transfer_frame(ours(), TABLE1), printed)).loc[PAPER_BLOCK]
    assert both.index[both["CR in-class", "ρ"]].tolist() == ["TuPaTE"], "blocks are bold by themselves"
    assert both.index[both["CR in-class", "NDCG"]].tolist() == ["FUTE + TuPaTE"]


def test_p_values_are_of_methods():
    rows = ours(layout=TABLE2).assign(rho_p=[np.nan, 0.0004, 0.0316], ndcg_p=[np.nan, 0.001, np.nan])
    table = p_values(rows, TABLE2)
    assert table.loc[("m-a", "FUTE + TuPaTE")].tolist() == ["<0.001", "0.001"]
    assert table.loc[("m-a", "DataSize")].tolist() == ["0.032", MISSING]
    assert ("m-a", "Random") not in table.index


def targets() -> pd.DataFrame:
    front = {"model": "m", "scope": "in-class", "group": "qa", "gain": 2.5, "best_source": "qa-x"}
    return pd.DataFrame(
        [
            {**front, "target": "qa-a", "method": "DataSize", "rho": 3.0, "ndcg": 81.23, "counted": True},
            {**front, "target": "qa-a", "method": "Random", "rho": 5.5, "ndcg": 60.0, "counted": True},
            {**front, "target": "qa-b", "method": "DataSize", "rho": 1.5, "ndcg": 9.96, "counted": False},
            {**front, "target": "fin", "scope": "domain", "group": "cr", "method": "DataSize", "rho": 1, "ndcg": 2,
             "counted": True},
        ]
    )  # fmt: skip


def test_the_table_of_single_targets():
    table = per_target(targets(), TABLE1)
    assert list(table.index) == [("m, QA in-class", "qa-a"), ("m, QA in-class", "qa-b †")]
    heads = [("Best", "source"), ("Best", "gain"), ("DataSize", "ρ / NDCG"), ("Random", "ρ / NDCG")]
    assert list(table.columns) == heads
    assert table.loc[("m, QA in-class", "qa-a")].tolist() == ["qa-x", "2.5", "3.0 / 81.2", "5.5 / 60.0"]
    assert table.loc[("m, QA in-class", "qa-b †")].tolist() == ["qa-x", "2.5", "1.5 / 10.0", MISSING]
    assert per_target_caption(table).endswith(LEFT_OUT_NOTE)
    domain = per_target(targets(), TABLE2)
    assert list(domain.index) == [("m, Finance and medicine", "fin")]
    assert LEFT_OUT not in per_target_caption(domain), "a mark that is not there is not explained"


# ---- sentences


def verdicts(rho=(np.nan, np.nan), ndcg=(np.nan, np.nan)) -> str:
    """Sentence on one method in one cell. rho, ndcg: p-values of chance doing as well, and as badly."""
    rows = pd.DataFrame({"model": ["m"], "cell": ["domain"], "method": ["TuPaTE"]})
    rows = rows.assign(rho_p=rho[0], rho_p_worse=rho[1], ndcg_p=ndcg[0], ndcg_p_worse=ndcg[1])
    (sentence,) = transfer_sentences(pd.concat([rows, rows.assign(method="Random")]), TABLE2)
    return sentence


def test_small_p_values_beat_or_lose_to_random():
    assert verdicts((0.01, 1.0), (0.05, 0.96)) == (
        "TuPaTE: ρ beats random rankings in its block (Finance and medicine m); "
        "NDCG beats random rankings in its block (Finance and medicine m)."
    )
    assert verdicts((0.99, 0.02), (0.98, 0.05)).count("loses to random rankings in its block") == 2


def test_others_cannot_be_told_from_random():
    # with many ties a ranking can be as good and as bad as nearly all random ones
    assert verdicts((0.2, 0.9), (0.96, 0.96)).count("cannot be told from random rankings in its block") == 2
    assert verdicts().count("has no test against random rankings") == 2


def test_a_table_without_a_target_says_so():
    assert transfer_sentences(ours().head(0), TABLE1) == ["No target is in the means, so no method was compared."]


def test_direct_scores_stand_beside_the_majority():
    frame = pd.DataFrame({
        "model": "m", "target": ["a", "b", "c"], "direct": [70.0, 50.0, 61.26], "majority": [50.0, 50.0, 61.3],
        "best_transferred": [71.0, 55.0, 61.3], "counted": [True, True, False],
    })  # fmt: skip
    assert direct_sentences(frame) == [
        "m: direct score (majority baseline) of a 70.0 (50.0), b 50.0 (50.0), c 61.3 (61.3). Direct runs beat the "
        "baseline on 1 of 3 targets; no run does on c, left out of the means."
    ]
    (unknown,) = direct_sentences(frame.assign(majority=np.nan, counted=True))
    assert "a 70.0 (–), b 50.0 (–), c 61.3 (–). No majority baseline is known, so no target was left out." in unknown


# ---- the steps


def write(folder: Path, name: str, lost: str | None = None, no_vector: str = "") -> dict[str, Path]:
    """Evaluate the made-up matrix for one model and write one table.

    lost: start of targets that no run learned. no_vector: why the first similarity is of a vector that does not exist.
    """
    given = {"transfer": transfer(), "similarities": similarities(), "baselines": baselines()}
    given["similarities"]["no_vector"] = [no_vector, *[""] * (len(given["similarities"]) - 1)]
    paths = {key: folder / f"{key}.csv" for key in (*given, "targets", "direct", "table1", "table2")}
    if lost:
        given["transfer"].loc[given["transfer"]["target"].str.startswith(lost), "majority"] = 100.0
    for key, frame in given.items():
        frame.to_csv(paths[key], index=False)
    settings = TransferSettings(
        surrogate="s", methods=("taskemb", "tupate"), models=("m-one",), datasets=DATASETS, draws=200, permutations=500
    )
    lm_evaluation(settings, **paths)
    text = yaml.safe_load((RESOURCES / "captions.yaml").read_text(encoding="utf8"))[name]
    out = {kind: folder / f"{name}.out.{kind}" for kind in ("csv", "md", "tex")}
    transfer_table(
        TransferTableSettings(table=name, title=text["title"], caption="A caption.", note="Made-up numbers."),
        cells=paths[name], targets=paths["targets"], direct=paths["direct"],
        similarities=paths["similarities"], printed=PRINTED[name],
        csv=out["csv"], markdown=out["md"], latex=out["tex"],
    )  # fmt: skip
    return out


@pytest.mark.parametrize("name", LAYOUTS)
def test_files_of_the_synthetic_matrix(name, tmp_path):
    """Snapshots; after a wanted change, copy the written files over those in tests/data/synthetic-lm."""
    for kind, path in write(tmp_path, name).items():
        assert path.read_text() == (FOLDER / f"{name}.{kind}").read_text(), f"{path} differs"


def test_a_note_counts_similarities_without_a_vector(tmp_path):
    rows = similarities().query("method == 'tupate'").assign(method="labelcov", no_vector="")
    assert no_vector_note(rows) == no_vector_note(rows.drop(columns="no_vector")) == ""
    rows.iloc[:3, rows.columns.get_loc("no_vector")] = "it says the same of all texts"
    assert no_vector_note(rows) == f"LabelCov has no vector for 3 of {len(rows)} similarities, which count as 0."
    for kind in ("md", "tex"):
        text = write(tmp_path, "table1", no_vector="it says the same of all texts")[kind].read_text()
        assert f"Made-up numbers. FUTE + TaskEmb has no vector for 1 of {len(rows)} similarities" in text


def test_targets_of_a_class_that_is_left_out_stay_in_the_table_of_single_targets(tmp_path):
    out = write(tmp_path, "table1", lost="qa-")
    markdown, latex = out["md"].read_text(), out["tex"].read_text()
    assert "QA" not in out["csv"].read_text().splitlines()[0].upper(), "a class without a mean has no columns"
    for written in (markdown, latex.replace(r"\textdagger{}", LEFT_OUT)):
        for target in ("qa-a", "qa-b", "qa-c"):
            assert written.count(f"{target} {LEFT_OUT}") == 2, "in-class and all-class"
    assert markdown.index(LEFT_OUT_NOTE) < markdown.index("## What it shows"), "below its table"


def test_files_are_regular_and_recorded(tmp_path):
    out = write(tmp_path, "table1")
    markdown, latex = out["md"].read_text(), out["tex"].read_text()
    tables = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    assert len(tables) == 4
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    titles = ["95 % intervals", "p-values against random rankings", "Single targets", "What it shows", "Direct scores"]
    assert re.findall(r"^## (.*)$", markdown, flags=re.MULTILINE) == titles
    assert latex.count(r"\begin{table*}") == 2 and "ρ" not in latex and latex.count(r"$\rho$") == 4 + 7 + 1
    assert latex.isascii()
    record = json.loads(Path(f"{out['csv']}.prov.json").read_text())["record"]
    assert record["step"] == "transfer_table" and len(record["inputs"]) == 5
