"""The report's maps: what stands beside a prompt or a fine-tuned model, from the files of the evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from fute.paper.figures import LLM_LOOK, LM_LOOK, Groups
from fute.paper.interactive_map import Map, Said, maps_of, prompt_lines

NEAREST = 3
"""Targets that are named beside a fine-tuned model."""


def llm_maps(
    coordinates: pd.DataFrame,
    similarities: pd.DataFrame,
    performance: pd.DataFrame,
    *,
    prompts: Mapping[str, str],
    categories: Groups,
) -> Iterator[Map]:
    """Maps of LLMs with prompts, one per method and view.

    coordinates, similarities, performance: the files of these names. prompts: id -> template. categories: title and
    colour of each.
    """

    def said(method: str, view: str) -> Said:
        of_method = _ranked(similarities, method, view, ["model", "dataset"])
        lines = {}
        for model, prompt in points:
            own = of_method[(of_method["model"] == model) & (of_method["prompt"] == prompt)]
            tested = performance[(performance["model"] == model) & (performance["prompt"] == prompt)]
            accuracy = tested.set_index("dataset")["accuracy"]
            words = [f"prompt {prompt} of {model}", *prompt_lines(prompts.get(prompt, ""))]
            for row in own.itertuples():
                scores = f", {accuracy[row.dataset]:.1f} % on test rows" if row.dataset in accuracy else ""
                words.append(f"for {row.dataset}: place {row.place:g} of {row.of}, cosine {row.similarity:.4f}{scores}")
            lines[model, prompt] = bool((own["place"] == 1).any()), [*words, *_shares(tested)]
        return lines

    points = list(dict.fromkeys(zip(coordinates["model"], coordinates["prompt"], strict=True)))
    groups = {name: categories[name] for name in dict.fromkeys(coordinates["category"])}
    yield from maps_of("Prompts", coordinates, LLM_LOOK, "prompt", groups, said)


def lm_maps(coordinates: pd.DataFrame, similarities: pd.DataFrame, direct: pd.DataFrame) -> Iterator[Map]:
    """Maps of fine-tuned models, one per method and view.

    coordinates, similarities, direct: lm_coordinates.csv, lm_similarities.csv and lm_direct.csv.
    """
    others = similarities[similarities["source"] != similarities["target"]]
    scores = direct.set_index(["model", "target"])["direct"]

    def said(method: str, view: str) -> Said:
        of_method = _ranked(others, method, view, ["model", "target"])
        lines = {}
        for model, source in points:
            own = of_method[(of_method["model"] == model) & (of_method["source"] == source)]
            words = [f"{model}, fine-tuned on {source}"]
            if (model, source) in scores:
                words.append(f"{scores[model, source]:.1f} on its own test rows")
            nearest = own.sort_values("similarity", ascending=False, kind="stable").head(NEAREST)
            if len(nearest):
                named = ", ".join(f"{row.target} {row.similarity:.4f}" for row in nearest.itertuples())
                words.append(f"most similar targets, by cosine: {named}")
            if first := list(own.loc[own["place"] == 1, "target"]):
                words += prompt_lines(f"first of {model}'s sources for {', '.join(first)}")
            lines[model, source] = bool(first), words
        return lines

    points = list(dict.fromkeys(zip(coordinates["model"], coordinates["dataset"], strict=True)))
    yield from maps_of("Fine-tuned models", coordinates, LM_LOOK, "dataset", LM_LOOK.groups or {}, said)


def _ranked(similarities: pd.DataFrame, method: str, view: str, by: list[str]) -> pd.DataFrame:
    """Similarities by a method, with `similarity`, its `place` among those of `by` (1: the highest), and `of` how many.

    Those of the view `centred` are the centred cosines. A pair without a similarity is left out.
    """
    rows = similarities[similarities["method"] == method]
    column = "centred_cosine" if view == "centred" else "cosine"
    rows = rows.assign(similarity=rows[column]).dropna(subset=["similarity"])
    groups = rows.groupby(by)["similarity"]
    return rows.assign(place=groups.rank(ascending=False, method="min"), of=groups.transform("size"))


def _shares(tested: pd.DataFrame) -> list[str]:
    """One line with the share of each class among a prompt's answers on test rows; none where it is not known."""
    if tested.empty:
        return []
    shares = tested.filter(regex="^share_").dropna(axis="columns")
    shares = shares.mul(tested["n"], axis="index").sum() / tested["n"].sum()  # datasets have different numbers of rows
    named = ", ".join(f"{name.removeprefix('share_')} {100 * share:.0f} %" for name, share in shares.items())
    return [f"labels of test rows: {named}"] if named else []
