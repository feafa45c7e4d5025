"""Two black boxes that are not language models: a linear SVM and a decision tree on TF-IDF features.

Their outputs on the unlabelled texts give them task embeddings in the same space as those of language models. Your
own black box is a function like these: it takes texts and returns one output per text.
"""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

Text = tuple[str, ...]
Labelled = Sequence[tuple[Text, str]]


def _joined(texts: Sequence[Text]) -> list[str]:
    return ["\n".join(segments) for segments in texts]


def svm(texts: list[Text], train: Labelled, c: float = 1.0) -> list[str]:
    """Label texts with class names by a linear SVM on TF-IDF, trained on (segments, class name)."""
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LinearSVC(C=c, random_state=0))
    model.fit(_joined([text for text, _ in train]), [label for _, label in train])
    return [str(name) for name in model.predict(_joined(texts))]


def decision_tree(texts: list[Text], train: Labelled, depth: int = 8) -> list[dict[str, object]]:
    """Label texts by a decision tree, with its class shares as the soft form."""
    model = make_pipeline(TfidfVectorizer(), DecisionTreeClassifier(max_depth=depth, random_state=0))
    model.fit(_joined([text for text, _ in train]), [label for _, label in train])
    names = [str(name) for name in model.classes_]
    return [
        {"prediction": names[int(shares.argmax())], "classes": names, "probabilities": [float(p) for p in shares]}
        for shares in model.predict_proba(_joined(texts))
    ]
