"""Score a black box on its task, in percent; needs neither torch nor the model."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from fute.data.rows import Row
from fute.specs.finetuning import TaskSettings

Prediction = str | float
"""A class name, a number, or the text of a span (empty: no answer)."""


def task_score(task: TaskSettings, rows: Sequence[Row], predictions: Sequence[Prediction]) -> float:
    """Score of predictions on labelled rows by the dataset's metric, in percent.

    f1 is that of the class with index 1. Matthews and Spearman correlations may be negative; they are 0 where one
    side is constant, since a constant has no order.
    Raises ValueError if there are no rows, or not as many predictions as rows.
    """
    if not rows or len(rows) != len(predictions):
        raise ValueError(f"{task.dataset}: {len(predictions)} predictions for {len(rows)} rows")
    if task.metric == "span_f1":
        return 100 * float(np.mean([span_f1(str(p), _gold(row)) for row, p in zip(rows, predictions, strict=True)]))
    if task.metric == "spearman":
        gold = [row.value for row in rows]
        if len(set(gold)) == 1 or len(set(predictions)) == 1:
            return 0.0
        from scipy.stats import spearmanr

        return 100 * float(spearmanr(gold, predictions).statistic)
    gold = [str(row.label) for row in rows]
    if task.metric == "accuracy":
        return 100 * float(np.mean([a == b for a, b in zip(gold, predictions, strict=True)]))
    if task.metric == "f1":
        positive = task.classes[1]
        truth, predicted = ([name == positive for name in names] for names in (gold, predictions))
        from sklearn.metrics import f1_score

        return 100 * float(f1_score(truth, predicted, zero_division=0))
    from sklearn.metrics import matthews_corrcoef

    return 100 * float(matthews_corrcoef(gold, predictions))


def majority_score(task: TaskSettings, train: Sequence[Row], rows: Sequence[Row]) -> float:
    """Score on `rows`, in percent, of the best constant answer.

    It is the mean of the training rows, `no answer`, or the class that scores best on them: the largest class, but
    for F1 the positive class, since F1 is 0 where no text gets that class.
    """
    if task.task == "classification":
        best = max(task.classes, key=lambda name: task_score(task, train, [name] * len(train)))
        return task_score(task, rows, [best] * len(rows))
    if task.task == "regression":
        return task_score(task, rows, [float(np.mean([row.value for row in train]))] * len(rows))
    return task_score(task, rows, [""] * len(rows))


def _gold(row: Row) -> list[str]:
    return [answer.text for answer in row.answers or ()]


def normalise_answer(text: str) -> str:
    """Lower-case a text and drop punctuation, articles and repeated blanks, as the official SQuAD 2.0 script does."""
    text = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def span_f1(predicted: str, gold: Sequence[str]) -> float:
    """F1 of the words shared with the nearest gold answer, in [0, 1]; without gold answers `no answer` is right.

    As in the official SQuAD 2.0 script: a gold answer that normalises to nothing does not count, and where one side
    has no words, the score is 1 if the other has none either, else 0.
    """
    answers = [answer for answer in gold if normalise_answer(answer)] or [""]
    return max(_words_f1(normalise_answer(predicted).split(), normalise_answer(answer).split()) for answer in answers)


def _words_f1(predicted: list[str], gold: list[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    common = (Counter(predicted) & Counter(gold)).total()
    if common == 0:
        return 0.0
    precision, recall = common / len(predicted), common / len(gold)
    return 2 * precision * recall / (precision + recall)
