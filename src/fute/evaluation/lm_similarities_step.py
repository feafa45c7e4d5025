"""Compare every MTE with every DTE by cosine (language-model experiment)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from fute import paths
from fute.artifacts import Step
from fute.config.sections import Section
from fute.embeddings.vectors import LABELCOV, in_one_space
from fute.evaluation.similarities_step import centre_of, loader, similarity_row


class LmSimilaritySettings(Section):
    """Settings of step `lm_similarities`.

    other_models: method -> model, if its vectors are not made with the surrogate.
    black_boxes: (model, source); source is the dataset that the model was fine-tuned on. targets: datasets whose DTEs
    are compared with all black boxes.
    """

    surrogate: str
    other_models: dict[str, str] = Field({})
    methods: tuple[str, ...]
    black_boxes: tuple[tuple[str, str], ...]
    targets: tuple[str, ...]


def lm_similarities(settings: LmSimilaritySettings, *, files: Sequence[Path], output: Path) -> None:
    """Write one row per (method, black box, target); a source is compared with itself too.

    The candidates of a target are the black boxes of one model, without the one that was fine-tuned on the target.
    files: the vectors, at their paths under `results/embeddings`. Raises ValueError if one is missing.
    """
    load = loader(files)
    rows = []
    for method in settings.methods:
        base = settings.other_models.get(method, settings.surrogate), method
        dtes = {target: paths.dte(*base, target) for target in settings.targets}
        mtes = {box: paths.mte(*base, *box) for box in settings.black_boxes}
        get = load
        if method == LABELCOV:  # small vectors, of which all are needed to compare them by one measure
            together = (*dtes.values(), *mtes.values())
            get = dict(zip(together, in_one_space([load(path) for path in together]), strict=True)).__getitem__
        loaded = {target: get(path) for target, path in dtes.items()}
        for model in dict.fromkeys(model for model, _ in mtes):
            # those of one model at a time: full vectors are as large as the surrogate
            own = {source: get(path) for (name, source), path in mtes.items() if name == model}
            centres = {t: centre_of([mte for source, mte in own.items() if source != t]) for t in loaded}
            for source, mte in own.items():
                front = {"surrogate": base[0], "method": method, "model": model, "source": source}
                rows += [
                    front | {"target": target} | similarity_row(mte, dte, candidates=centres[target])
                    for target, dte in loaded.items()
                ]
    with Step(__name__, settings=settings.model_dump(), inputs=files) as step:
        step.csv(output, rows)
