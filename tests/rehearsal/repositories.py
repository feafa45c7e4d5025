"""Dataset repositories with the names, layouts and columns of those on the hub, filled with a sample of real rows.

Real rows are those of the sample in DATA, whose README says what it lacks. Where it lacks a split, another stands in:
ANLI's validation rows for train_r3, MedQA's test for train, WANLI's annotated rows for test, and the rows of DROP are
given the types of answers that the hub's have. NewsQA, ComQA and ComplexQuestions, which users bring along themselves,
are made in MultiQA's form: SQuAD's rows stand in for NewsQA, and ComplexQuestions' for ComQA, with snippets made of
question and answer, since neither sample has texts. U's lines are those of the sample's pool, in MetaICL's form and
under its names of tasks; of the tables that `config/unsup.yaml` names besides there are two, so that the others are
missing.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import yaml

from fute.config.unsup_sources import load_unsup_sources
from fute.data.crossfit_tasks import canonical

Rows = list[dict[str, Any]]
SHARD = 4000
"""Most rows of a parquet file."""
BINARY = ("0", "1")
NLI = ("entailment", "neutral", "contradiction")
SENTIMENT = ("neg", "pos")
PAIRS = ("entailment", "not_entailment")
CONVERTED = "refs/pr/1"
"""Branch with the parquet files of a repository that is a loading script."""
QQP_EMPTY = ("How can I develop android app?", "How can I create an Android app?")
"""The questions of QQP's two training rows without a second one (huggingface/datasets#277)."""


class Sample:
    """The sample of real rows in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(self, dataset: str, split: str, most: int | None = None) -> Rows:
        """Rows of a split, at most so many."""
        with gzip.open(self.folder / dataset / f"{split}.jsonl.gz", "rt", encoding="utf8") as lines:
            return [json.loads(line) for line in lines][:most]


class Repositories:
    """Writes dataset repositories below `{folder}/datasets`, as `rehearsal.hub` serves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def branch(self, repo: str, name: str = "main") -> Path:
        path = self.folder / "datasets" / repo / name.replace("/", "%2F")
        path.mkdir(parents=True, exist_ok=True)
        return path

    def parquet(
        self,
        repo: str,
        configs: dict[str, dict[str, Rows]],
        labels: dict[str, tuple[str, ...]],
        form: str,
        name: str = "main",
    ) -> None:
        """A branch of parquet files, whose card names configurations, splits, columns and classes.

        form: path of a file with `{config}`, `{split}` and `{part}` ("-00000-of-00001").
        """
        branch, cards = self.branch(repo, name), []
        described = []
        for config, splits in configs.items():
            files, sizes = [], []
            for split, rows in splits.items():
                most = SHARD if "{part}" in form else len(rows)
                shards = [rows[start : start + most] for start in range(0, len(rows), most)]
                for number, shard in enumerate(shards):
                    part = f"-{number:05d}-of-{len(shards):05d}"
                    columns = write_parquet(
                        branch / form.format(config=config, split=split, part=part), shard, labels.get(config, ())
                    )
                pattern = form.format(config=config, split=split, part="-*" if "{part}" in form else "")
                files.append({"split": split, "path": pattern})
                sizes.append({"name": split, "num_examples": len(rows), "num_bytes": 0})
            cards.append({"config_name": config, "data_files": files})
            described.append({"config_name": config, "features": columns, "splits": sizes})
        card(branch, {"configs": cards, "dataset_info": described})

    def script(
        self, repo: str, configs: dict[str, dict[str, Rows]], labels: dict[str, tuple[str, ...]], form: str
    ) -> None:
        """A repository that is a loading script, and holds the same as parquet files at the commit that is read."""
        branch = self.branch(repo)
        name = repo.split("/")[1]
        (branch / f"{name}.py").write_text('"""A loading script, which `datasets` 4 and later do not run."""\n')
        card(branch, {"pretty_name": name})
        self.parquet(repo, configs, labels, form, CONVERTED)

    def json(self, repo: str, files: dict[str, Rows], as_list: bool = False) -> None:
        """A repository of JSON lines, or of one JSON list, whose card says nothing of them."""
        branch = self.branch(repo)
        card(branch, {"pretty_name": repo})
        for name, rows in files.items():
            text = json.dumps(rows, indent=1) if as_list else "".join(json.dumps(row) + "\n" for row in rows)
            (branch / name).parent.mkdir(parents=True, exist_ok=True)
            (branch / name).write_text(text, encoding="utf8")


def card(branch: Path, facts: dict[str, Any]) -> None:
    (branch / "README.md").write_text(f"---\n{yaml.safe_dump(facts, sort_keys=False)}---\n# Dataset card\n")
    (branch / ".gitattributes").write_text("*.parquet filter=lfs diff=lfs merge=lfs -text\n")


def write_parquet(path: Path, rows: Rows, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """Write rows to a file; the columns, as a card describes them. labels: names of the classes of `label`."""
    from datasets import ClassLabel, Dataset

    made = Dataset.from_list(rows)
    if labels:
        made = made.cast_column("label", ClassLabel(names=list(labels)))
    path.parent.mkdir(parents=True, exist_ok=True)
    made.to_parquet(str(path))
    return made.features._to_yaml_list()


def numbered(rows: Iterable[dict[str, Any]]) -> Rows:
    """GLUE's and SuperGLUE's rows have a column `idx`."""
    return [row | {"idx": number} for number, row in enumerate(rows)]


def without(rows: Rows, *names: str) -> Rows:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def make_datasets(folder: Path, data: Path) -> None:
    """Make all dataset repositories of both runs of the paper below a folder."""
    made, real = Repositories(folder), Sample(data)
    parts, whole = "{config}/{split}{part}.parquet", "data/{split}{part}.parquet"

    tomatoes = {split: real.rows("rotten_tomatoes", split) for split in ("train", "validation", "test")}
    made.parquet(
        "cornell-movie-review-data/rotten_tomatoes", {"default": tomatoes}, {"default": SENTIMENT}, "{split}.parquet"
    )
    imdb = {split: real.rows("imdb", split) for split in ("train", "test")}
    imdb["unsupervised"] = [row | {"label": -1} for row in imdb["train"][:500]]
    made.parquet("stanfordnlp/imdb", {"plain_text": imdb}, {"plain_text": SENTIMENT}, parts)
    made.json(
        "alisawuffles/WANLI",
        {"train.jsonl": real.rows("wanli", "train"), "test.jsonl": real.rows("wanli", "annotations")},
    )
    cb = {split: numbered(real.rows("cb", split)) for split in ("train", "validation")}
    cb["test"] = [row | {"label": -1} for row in cb["validation"]]
    made.parquet("aps/super_glue", {"cb": cb}, {"cb": ("entailment", "contradiction", "neutral")}, parts)
    rounds = {"train_r3": real.rows("anli_r3", "validation"), "test_r3": real.rows("anli_r3", "test")}
    rounds |= {f"{part}_r{n}": rounds[f"{part}_r3"][:20] for n in (1, 2) for part in ("train", "test")}
    made.parquet("facebook/anli", {"plain_text": rounds}, {"plain_text": NLI}, parts)

    snli = {split: real.rows("snli", split) for split in ("train", "validation", "test")}
    snli["train"] += [row | {"label": -1} for row in snli["train"][:5]]  # pairs without a gold label
    made.parquet("stanfordnlp/snli", {"plain_text": snli}, {"plain_text": NLI}, parts)
    made.parquet("nyu-mll/glue", glue(real), GLUE_LABELS, parts)
    scitail = {split: real.rows("scitail", split) for split in ("train", "validation")}
    made.parquet("allenai/scitail", {"tsv_format": scitail}, {}, parts)

    for repo, config, name in (("squad_v2", "squad_v2", "squad_v2"), ("squad", "plain_text", "squad")):
        splits = {split: real.rows(name, split, 1500) for split in ("train", "validation")}
        made.parquet(f"rajpurkar/{repo}", {config: splits}, {}, parts)
    hotpot = {split: real.rows("hotpot_qa", split) for split in ("train", "validation")}
    full = {split: rows[:20] for split, rows in hotpot.items()}
    made.parquet("hotpotqa/hotpot_qa", {"distractor": hotpot, "fullwiki": full}, {}, parts)
    duorc = {
        config: {split: real.rows(f"duorc_{config.lower()}", split) for split in ("train", "validation", "test")}
        for config in ("ParaphraseRC", "SelfRC")
    }
    made.parquet("ibm-research/duorc", duorc, {}, parts)
    drop = {split: [typed_drop(row) for row in real.rows("drop", split, 1500)] for split in ("train", "validation")}
    made.parquet("lighteval/drop_harness", {"default": drop}, {}, whole)
    hops = {
        split: [row | {"query": row.pop("question"), "annotations": []} for row in real.rows("wiki_hop", split)]
        for split in ("train", "validation")
    }
    wiki = {"wikihop": hops, "masked_wikihop": {split: rows[:2] for split, rows in hops.items()}}
    made.parquet("community-datasets/qangaroo", wiki, {}, parts)
    boolq = {split: without(real.rows("boolq", split, 1500), "title") for split in ("train", "validation")}
    made.parquet("google/boolq", {"default": boolq}, {}, whole)

    agree = {
        f"sentences_{name}": {"train": real.rows("financial_phrasebank", f"sentences_{name}")}
        for name in ("allagree", "50agree")
    }
    classes = dict.fromkeys(agree, ("negative", "neutral", "positive"))
    made.script("takala/financial_phrasebank", agree, classes, parts)
    pairs = {"train": real.rows("medical_questions_pairs", "train")}
    made.parquet("curaihealth/medical_questions_pairs", {"default": pairs}, {"default": BINARY}, whole)
    medqa = [medalpaca(row) for row in real.rows("med_qa", "test")]
    made.json("medalpaca/medical_meadow_medqa", {"medical_meadow_medqa.json": medqa}, as_list=True)

    make_unsup(made, real)
    converted = made.branch("ibm-research/duorc", "refs/convert/parquet")
    write_parquet(converted / "SelfRC/train/0000.parquet", duorc["SelfRC"]["train"], ())
    converted = made.branch("UCLNLP/adversarial_qa", "refs/convert/parquet")  # SQuAD's rows, which it was made from
    write_parquet(converted / "adversarialQA/train/0000.parquet", real.rows("squad", "train", 300), ())
    made.json("UCLNLP/adversarial_qa", {"adversarial_qa.jsonl": real.rows("squad", "train", 5)})


GLUE_LABELS = {
    "sst2": ("negative", "positive"),
    "mnli": NLI,
    "qqp": ("not_duplicate", "duplicate"),
    "qnli": PAIRS,
    "cola": ("unacceptable", "acceptable"),
    "mrpc": ("not_equivalent", "equivalent"),
    "rte": PAIRS,
    "wnli": ("not_entailment", "entailment"),
}


def glue(real: Sample) -> dict[str, dict[str, Rows]]:
    """GLUE's configurations; test splits hide their labels; two rows of QQP have no second question."""
    names = (*GLUE_LABELS, "stsb")
    first, other = ("validation_matched", "validation_mismatched"), ("test_matched", "test_mismatched")
    configs: dict[str, dict[str, Rows]] = {}
    for name in names:
        train = real.rows(name, "train")
        if name == "qqp":
            train[1234:1234] = [{"question1": text, "question2": "", "label": 0} for text in QQP_EMPTY]
        dev = first if name == "mnli" else ("validation",)
        configs[name] = {"train": numbered(train)} | {split: numbered(real.rows(name, dev[0])) for split in dev}
        hidden = [row | {"label": -1.0 if name == "stsb" else -1} for row in configs[name][dev[0]][:50]]
        configs[name] |= {split: hidden for split in (other if name == "mnli" else ("test",))}
    return configs


def typed_drop(row: dict[str, Any]) -> dict[str, Any]:
    """A DROP row with a type for each answer, as the hub's repository has them."""
    given = [row["answer"], *(a for a in row["answers"] if a != row["answer"])]
    typed = [
        {"number": a, "spans": []} if a.replace(".", "").replace(",", "").isdigit() else {"number": "", "spans": [a]}
        for a in given
    ]
    date = {"day": "", "month": "", "year": ""}
    ids = {"worker_id": "", "hit_id": ""}
    others = typed[1:]
    return {
        "section_id": row["query_id"], "query_id": row["query_id"],
        "passage": row["passage"], "question": row["question"],
        "answer": typed[0] | {"date": date} | ids,
        "validated_answers": {
            "number": [answer["number"] for answer in others], "date": [date for _ in others],
            "spans": [answer["spans"] for answer in others],
            "worker_id": ["" for _ in others], "hit_id": ["" for _ in others],
        },
    }  # fmt: skip


def medalpaca(row: dict[str, Any]) -> dict[str, Any]:
    """A MedQA row as medalpaca has it: question and options in one text, the answer with its letter."""
    options = {option["key"]: option["value"] for option in row["options"]}
    return {
        "instruction": "Please answer with one of the option in the bracket",
        "input": f"Q:{row['question']}? \n{options},",
        "output": f"{row['answer_idx']}: {row['answer']}",
    }


# ---- what users bring along: DATA of the rehearsal's command lines ----


def make_own_files(folder: Path, data: Path) -> None:
    """Make the files that no hub has: NewsQA, ComQA and ComplexQuestions in MultiQA's form."""
    real = Sample(data)
    for split, theirs in (("train", "train"), ("dev", "validation")):
        rows = [row for row in real.rows("squad_v2", theirs) if row["answers"]["text"]]
        write_multiqa(folder / "newsqa" / f"{split}.jsonl.gz", "NewsQA", (multiqa_of_squad(row) for row in rows[:800]))
    asked = real.rows("complex_questions", "train"), real.rows("complex_questions", "test")
    for name, title, rows in (
        ("complex_questions", "ComplexQuestions", (asked[0][:700], asked[1][:400])),
        ("com_qa", "ComQA", (asked[0][700:], asked[1][400:])),
    ):
        for split, part in zip(("train", "dev"), rows, strict=True):
            write_multiqa(folder / name / f"{split}.jsonl.gz", title, map(multiqa_with_snippet, part))


def write_multiqa(path: Path, title: str, documents: Iterator[dict[str, Any]]) -> None:
    """Write a file of MultiQA's: a header, then one line per context with its questions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf8") as lines:
        lines.write(json.dumps({"header": {"dataset_name": title}}) + "\n")
        for document in documents:
            lines.write(json.dumps(document) + "\n")


def multiqa(number: str, document: dict[str, str], question: str, places: list[dict[str, Any]]) -> dict[str, Any]:
    answers = [{"single_answer": {"extractive": {"answer": places[0]["text"], "instances": places}}}] if places else []
    given = {"open-ended": {"annotators_answer_candidates": answers} if answers else {"cannot_answer": "yes"}}
    qas = [{"qid": f"{number}-q", "question": question, "answers": given}]
    return {"id": number, "context": {"documents": [document]}, "qas": qas}


def multiqa_of_squad(row: dict[str, Any]) -> dict[str, Any]:
    places = [
        {"doc_id": 0, "part": "text", "start_byte": start, "text": text}
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
    ]
    return multiqa(row["id"], {"text": row["context"]}, row["question"], places)


def multiqa_with_snippet(row: dict[str, Any]) -> dict[str, Any]:
    """A question of ComplexQuestions with a snippet that names its answers."""
    snippet = f"Answers to the question {row['question']} are: {', '.join(row['answers'])}."
    places = [
        {"doc_id": 0, "part": "snippet", "start_byte": snippet.index(text), "text": text} for text in row["answers"]
    ]
    return multiqa(row["id"], {"title": "web", "snippet": snippet}, row["question"], places)


def make_unsup(made: Repositories, real: Sample) -> None:
    """MetaICL's repository at the commit that the project names: each task's own lines if the pool has them, else
    those of another task."""
    tasks: dict[str, list[str]] = defaultdict(list)
    for row in real.rows("crossfit_like", "pool"):
        tasks[canonical(row["task"])].append(" ".join(row["text"].split()))
    others = cycle(sorted(tasks))
    sources = load_unsup_sources(Path("config/unsup.yaml"))
    files = {}
    for script, source in sources.scripts.items():
        if source.task is None:
            continue
        names = [task for task in tasks if task == script or task.startswith(f"{script}_")] or [next(others)]
        lines = [line for name in names for line in tasks[name]][:300]
        rows = [{"task": source.task, "input": line, "output": "label", "options": []} for line in lines]
        files[f"data/{source.task}/{source.task}_16384_100_train.jsonl"] = rows
    made.json(sources.repo, files)
    (made.branch(sources.repo).parent / ".commit-main").write_text(sources.revision)
