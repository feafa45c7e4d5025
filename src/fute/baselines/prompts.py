"""Prompt-selection baselines of Table 3: one score per prompt, higher is better, no gold labels used.

In all functions, `p` is an array (prompts, examples, classes): the class probabilities that an LLM gives to the same
examples under each prompt. Row 0 is prompt number 1. `labelled` (prompts, examples) is False where an LLM gave no
label, because a server did not return enough tokens: these probabilities are only bounds and enter no score. None: all
are labelled. Every prompt needs a labelled example, otherwise ValueError is raised.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vote = Literal["log", "prob", "vote"]

# Added inside the logarithm of ZPS-Log, so that one fully certain prompt cannot exclude a class for all others.
LOG_FLOOR = 1e-12
# Confidences closer than this differ only by rounding.
SAME_CONFIDENCE = 1e-12


def select(scores: ArrayLike) -> int:
    """Index (from 0) of the best score; the lowest prompt number among equal ones."""
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 1 or scores.size == 0 or np.isnan(scores).any():
        raise ValueError(f"select needs a non-empty 1-D array without NaN, got {scores!r}")
    return int(np.argmax(scores))


def mutual_information(p: ArrayLike, labelled: ArrayLike | None = None, *, hard: bool = False) -> NDArray[np.float64]:
    """MI (Sorensen et al. 2022): entropy of the mean distribution minus mean entropy; (prompts,), in nats.

    Lies in [0, log classes]; 0 if all examples get the same distribution. hard: the first entropy is that of the
    histogram of predicted classes, GlobalE; then it may be below 0 (MI_G of Yang et al. 2024).
    """
    return global_entropy(p, labelled, hard=hard) - local_entropy(p, labelled)


def local_entropy(p: ArrayLike, labelled: ArrayLike | None = None) -> NDArray[np.float64]:
    """LocalE (Lu et al. 2022): mean entropy of the examples' distributions; (prompts,), in nats.

    The sign is intended: a higher entropy counts as better, against over-confident prompts.
    """
    from scipy.special import entr

    return np.array([entr(own).sum(axis=-1).mean() for own in _labelled_rows(*_probabilities(p, labelled))])


def description_length(p: ArrayLike, labelled: ArrayLike | None = None) -> NDArray[np.float64]:
    """MDL (Wu et al. 2023, as Yang et al. 2024): minus the mean entropy of the distributions; (prompts,), in nats.

    The opposite of LocalE: the most certain prompt wins.
    """
    return -local_entropy(p, labelled)


def global_entropy(p: ArrayLike, labelled: ArrayLike | None = None, *, hard: bool = True) -> NDArray[np.float64]:
    """GlobalE (Lu et al. 2022): entropy of the histogram of predicted classes; (prompts,), in nats.

    Predictions are hard; among equally likely classes the lower index is predicted. hard=False: entropy of the mean
    distribution (GE_M of Yang et al. 2024).
    """
    from scipy.special import entr

    p, labelled = _probabilities(p, labelled)
    said = _one_hot(p.argmax(axis=-1), p.shape[-1]) if hard else p
    return entr(np.array([own.mean(axis=0) for own in _labelled_rows(said, labelled)])).sum(axis=-1)


def calibrate_by_mean(p: ArrayLike, labelled: ArrayLike | None = None) -> NDArray[np.float64]:
    """CBM (Yang et al. 2024): each prompt's probabilities divided by their mean over its examples, sums made 1 again.

    Shape as p. A class to which a prompt gives no probability at all keeps none. Examples without a label do not count
    for the mean.
    """
    p, labelled = _probabilities(p, labelled)
    means = np.array([own.mean(axis=0) for own in _labelled_rows(p, labelled)])[:, None, :]
    return _rescaled(p, means)


def calibrate_by_content_free(p: ArrayLike, content_free: ArrayLike) -> NDArray[np.float64]:
    """Contextual calibration (Zhao et al. 2021) and PMI_DC (Holtzman et al. 2021), as Yang et al. 2024 define both.

    Divides each prompt's probabilities by those that it gives to inputs without content, and makes the sums 1 again.
    p: (prompts, examples, classes). content_free: (prompts, inputs, classes). With the inputs `""`, `N/A` and `[MASK]`
    it is contextual calibration, whose divisor is the mean of the three; with `""` alone it is PMI, a difference of
    log-probabilities. Raises ValueError for a class to which all content-free inputs give 0 and an example does not.
    """
    p, _ = _probabilities(p, None)
    content_free, _ = _probabilities(content_free, None)
    if p.shape[0] != content_free.shape[0] or p.shape[2] != content_free.shape[2]:
        raise ValueError(f"p {p.shape} and content_free {content_free.shape} have other prompts or classes")
    divisor = content_free.mean(axis=1, keepdims=True)
    if ((divisor == 0) & (p > 0)).any():
        raise ValueError("content-free inputs give a class the probability 0, by which nothing can be divided")
    return _rescaled(p, divisor)


def _rescaled(p: NDArray[np.float64], divisor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities divided by those of a divisor, sums made 1 again; a row on classes without any stays as it is."""
    weights = np.divide(p, divisor, out=np.zeros_like(p), where=divisor > 0)
    total = weights.sum(axis=-1, keepdims=True)
    return np.divide(weights, total, out=p.copy(), where=total > 0)


def zero_label(
    p: ArrayLike, vote: Vote = "log", labelled: ArrayLike | None = None, *, flip: bool = False
) -> NDArray[np.float64]:
    """ZPS (Liao et al. 2022): share of examples on which a prompt agrees with the pseudo-labels; (prompts,).

    Pseudo-labels come from the confident prompts only (`confident_prompts`): the class with the highest mean
    log-probability (`log`), mean probability (`prob`) or number of predictions (`vote`); ties go to the lower class.
    All prompts are scored, in [0, 1]. ZPS's own code also keeps at least half of the prompts; this function does not,
    like the re-implementations used for the paper.

    A prompt without a label for an example has no part in its pseudo-label and does not agree with it. Examples that no
    confident prompt labels have no pseudo-label and count for no prompt.

    flip: compare with the other one of two classes. This repeats an error of the authors' code (xnyuwg/fute) on SA,
    where probabilities and predictions have opposite class orders; the prompt that agrees least then wins.
    Raises ValueError for an unknown vote, and for `flip` unless there are two classes.
    """
    p, labelled = _probabilities(p, labelled)
    predictions = p.argmax(axis=-1)
    kept = confident_prompts(p, labelled)
    if vote == "log":
        support = np.log(p[kept] + LOG_FLOOR)
    elif vote == "prob":
        support = p[kept]
    elif vote == "vote":
        support = _one_hot(predictions[kept], p.shape[-1])
    else:
        raise ValueError(f"vote is one of log, prob, vote; got {vote!r}")
    heard = labelled[kept]
    # of the classes of one example the highest sum is the highest mean
    labels = (support * heard[..., None]).sum(axis=0).argmax(axis=-1)
    if flip:
        if p.shape[-1] != 2:
            raise ValueError(f"flip swaps two classes, and p has {p.shape[-1]}; set flip to False")
        labels = 1 - labels
    agrees = (predictions == labels) & labelled
    return agrees[:, heard.any(axis=0)].mean(axis=1)


def confident_prompts(p: ArrayLike, labelled: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Mask (prompts,) of ZPS's filter: the upper of two clusters of mean(best - second probability).

    All prompts are kept if they are equally confident, because then there is only one cluster.
    """
    p, labelled = _probabilities(p, labelled)
    ordered = np.sort(p, axis=-1)
    second = ordered[..., -2] if p.shape[-1] > 1 else 0.0
    confidence = np.array([own.mean() for own in _labelled_rows(ordered[..., -1] - second, labelled)])
    if np.ptp(confidence) <= SAME_CONFIDENCE:
        return np.ones(len(confidence), dtype=bool)
    from sklearn.cluster import KMeans  # slow to import, and needed only here

    clusters = KMeans(n_clusters=2, n_init=10, random_state=0).fit(confidence[:, None])
    return clusters.labels_ == clusters.cluster_centers_[:, 0].argmax()


def spell(nll: ArrayLike) -> NDArray[np.float64]:
    """SPELL (Gonen et al. 2023): minus the mean perplexity of the filled prompts; (prompts,).

    nll: (prompts, examples), mean negative log-likelihood in nats of the tokens of each filled prompt, which includes
    the example's text.
    """
    nll = np.asarray(nll, dtype=float)
    if nll.ndim != 2 or nll.size == 0 or not np.isfinite(nll).all():
        raise ValueError(f"nll must be finite and of shape (prompts, examples), got shape {nll.shape}")
    if (nll < -1e-6).any():
        raise ValueError("nll holds negative values: pass negative log-likelihoods, not log-probabilities")
    return -np.exp(nll).mean(axis=1)


def self_select_scores(ranking: Sequence[int], n_prompts: int, *, list_as_scores: bool = False) -> NDArray[np.float64]:
    """Minus the position of each prompt in `ranking` (numbers from 1); prompts that are not listed tie for last.

    list_as_scores: repeat an error of the authors' code (xnyuwg/fute). Prompt i gets the i-th number of the ranking as
    its score (prompts that are not listed are appended in order), so the place of the largest number wins.
    """
    if len(set(ranking)) != len(ranking) or not all(1 <= number <= n_prompts for number in ranking):
        raise ValueError(f"a ranking holds different numbers in 1..{n_prompts}, got {list(ranking)}")
    if list_as_scores:
        rest = (number for number in range(1, n_prompts + 1) if number not in ranking)
        return np.array([*ranking, *rest], dtype=float)
    scores = np.full(n_prompts, -(len(ranking) + 1.0))
    for position, number in enumerate(ranking, start=1):
        scores[number - 1] = -position
    return scores


def _labelled_rows(values: NDArray[np.float64], labelled: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The values of each prompt on the examples that it labels."""
    return [own[mask] for own, mask in zip(values, labelled, strict=True)]


def _probabilities(p: ArrayLike, labelled: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    p = np.asarray(p, dtype=float)
    if p.ndim != 3 or p.size == 0:
        raise ValueError(f"p must have shape (prompts, examples, classes) and not be empty, got {p.shape}")
    wrong = ~((p >= 0).all(axis=-1) & (np.abs(p.sum(axis=-1) - 1) <= 1e-3))
    if wrong.any():
        prompt, example = np.argwhere(wrong)[0]
        raise ValueError(
            f"p[{prompt}, {example}] = {p[prompt, example]} is not a distribution over classes "
            f"({wrong.sum()} such rows): apply a softmax to the class scores first"
        )
    mask = np.ones(p.shape[:2], dtype=bool) if labelled is None else np.asarray(labelled, dtype=bool)
    if mask.shape != p.shape[:2] or not mask.any(axis=1).all():
        raise ValueError(f"labelled must be of shape {p.shape[:2]} with a labelled example for every prompt")
    return p, mask


def _one_hot(classes: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    return np.eye(n_classes)[classes]
