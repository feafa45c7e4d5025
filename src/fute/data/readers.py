"""Forms of raw rows: for each, the function that reads it and the columns it needs."""

from __future__ import annotations

from typing import NamedTuple

from fute.config.datasets import DatasetSettings, Reader, Source
from fute.data import class_readers, qa_readers
from fute.data.examples import ReaderFunction


class Form(NamedTuple):
    """A form of raw rows.

    read: function that reads a row. columns: columns to load from a hub dataset (reader `fields`: those that the entry
    names). many: True if a raw row may hold several questions.
    """

    read: ReaderFunction
    columns: tuple[str, ...]
    many: bool = False


READERS: dict[Reader, Form] = {
    "fields": Form(class_readers.fields, ()),
    "med_qa": Form(class_readers.med_qa, ("question", "options", "answer_idx")),
    "medalpaca": Form(class_readers.medalpaca, ("input", "output")),
    "squad": Form(qa_readers.squad, ("context", "question", "answers")),
    "multiqa": Form(qa_readers.multiqa, ("context", "qas"), many=True),
    "hotpot_qa": Form(qa_readers.hotpot_qa, ("question", "answer", "supporting_facts", "context")),
    "duorc": Form(qa_readers.duorc, ("plot", "title", "question", "answers", "no_answer")),
    "drop": Form(qa_readers.drop, ("passage", "question", "answer", "validated_answers")),
    "drop_flat": Form(qa_readers.drop_flat, ("passage", "question", "answer", "answers")),
    "wiki_hop": Form(qa_readers.wiki_hop, ("question", "answer", "supports")),
    "boolq_span": Form(qa_readers.boolq_span, ("question", "answer", "passage")),
}


def form_of(entry: DatasetSettings, source: Source) -> Form:
    """Form of a dataset's rows in a source."""
    reader = entry.reader_of(source)
    if reader == "fields":
        return READERS[reader]._replace(columns=(*entry.fields, str(entry.label_field)))
    return READERS[reader]
