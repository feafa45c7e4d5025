"""Label corpora by an LLM with each of its new prompts: the black box M of the paper.

A cell is one (model, prompt, corpus). Its key covers the model, the prompt's words, the corpus, the engine and the
code; prompts with the same words share their cells. One engine start labels a batch of cells. The work of a batch is
cut into fixed chunks, so that a resumed run gives the engine the same chunks as an uninterrupted one and gets the same
numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from fute.artifacts import Step, content_key, gzip_bytes, jsonl_bytes, sha256_file
from fute.batching import UnitStore, keys_text
from fute.config.engines import EngineSettings
from fute.config.prompts import Prompt, fill, followup, user_message
from fute.data.rows import Row, read_rows
from fute.llm.engine import ENGINES, Engine, ScoreRequest, load_engine
from fute.llm.self_select import TASKS, self_select_prompt
from fute.progress import Track

SUFFIX = ".jsonl.gz"
SELECT_TOKENS = 32
SELF_SELECT = "self-select"


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelCell(Frozen):
    """Labels of one prompt on one corpus. perplexity: also compute the likelihood of the filled prompts."""

    key: str
    prompt: str
    corpus: str
    perplexity: bool = False


class SelectCell(Frozen):
    """Choice of the LLM among the prompts of a category (baseline Self-Select)."""

    key: str
    category: str
    prompts: tuple[str, ...]


class BatchSpec(Frozen):
    """Settings of step `label_batch`: everything that one engine start computes.

    max_text_words: texts are cut to this number of words before they enter a prompt; None: never cut.
    """

    engine: EngineSettings
    system: str | None = None
    max_text_words: int | None = None
    prompts: dict[str, Prompt]
    labels: tuple[LabelCell, ...] = ()
    selects: tuple[SelectCell, ...] = ()


def prompt_words(prompt: Prompt) -> dict[str, Any]:
    """Parts of a prompt that reach the engine: without its id, number and note."""
    return {"template": prompt.template, "verbalizers": prompt.verbalizers, "cot": prompt.cot}


def label_key(
    model: Any, engine: EngineSettings, system: str | None, max_text_words: int | None,
    prompt: Prompt, corpus: Any, perplexity: bool, code_sha256: str,
) -> str:  # fmt: skip
    """Content address of a label cell. model, corpus: JSON values that identify the weights and the texts."""
    return content_key(
        ["label", model, engine.shaping(), system, max_text_words, prompt_words(prompt),
         list(prompt.verbalizers), corpus, perplexity, code_sha256]
    )  # fmt: skip


def select_key(model: Any, engine: EngineSettings, prompts: Sequence[Prompt], code_sha256: str) -> str:
    """Content address of a Self-Select cell, which depends on the words of all prompts in their order."""
    return content_key(["select", model, engine.shaping(), [p.template for p in prompts], code_sha256])


@dataclass(frozen=True)
class Item:
    """One request of a batch: a row of a corpus under a prompt, for one cell."""

    cell: LabelCell
    index: int
    row: Row


def cut_words(text: str, limit: int | None) -> str:
    """First `limit` whitespace-separated words of the text; the unchanged text if it has no more. None: no limit."""
    if limit is None or len(words := text.split()) <= limit:
        return text
    return " ".join(words[:limit])


def _segments(spec: BatchSpec, row: Row) -> tuple[str, ...]:
    return tuple(cut_words(segment, spec.max_text_words) for segment in row.segments)


def _request(spec: BatchSpec, item: Item) -> ScoreRequest:
    prompt = spec.prompts[item.cell.prompt]
    return ScoreRequest(
        id=f"{prompt.id} on {item.row.id}",
        user=user_message(prompt, _segments(spec, item.row)),
        system=spec.system,
        classes=tuple(tuple(words) for words in prompt.verbalizers.values()),
        followup=followup(prompt),
    )


def chunks(spec: BatchSpec, corpora: Mapping[str, Sequence[Row]], engine: Engine) -> list[tuple[str, list[Item]]]:
    """Units of work of a batch: (unit name, items), the same for every run of the batch.

    Engines with a prefix cache get requests ordered by their text, so that prompts with the same beginning follow each
    other. For other engines a chunk holds requests of one cell only, ordered by length, so that the numbers of a cell
    do not depend on the rest of the batch.
    """
    unique = {cell.key: cell for cell in spec.labels}
    items = [
        [Item(cell, index, row) for index, row in enumerate(corpora[cell.corpus])] for _, cell in sorted(unique.items())
    ]
    # A chain of thought takes many times longer than a plain answer, so the two never share a chunk.
    if engine.prefers_shared_prefix:
        groups = [
            [i for cell in items for i in cell if spec.prompts[i.cell.prompt].cot is cot] for cot in (False, True)
        ]
        groups = [sorted(g, key=lambda i: (_request(spec, i).user, i.cell.key)) for g in groups]
    else:
        groups = [sorted(cell, key=lambda i: (len(_request(spec, i).user), i.index)) for cell in items]
    result = []
    for group in groups:
        for start in range(0, len(group), engine.chunk_size):
            part = group[start : start + engine.chunk_size]
            name = content_key([[item.cell.key, item.index] for item in part])[:24]
            result.append((f"{name}.jsonl", part))
    return result


def _label_chunk(spec: BatchSpec, items: Sequence[Item], engine: Engine) -> Iterator[dict[str, Any]]:
    results = engine.score([_request(spec, item) for item in items])
    asked = [item for item in items if item.cell.perplexity]
    texts = [
        (f"{i.cell.prompt} on {i.row.id}", fill(spec.prompts[i.cell.prompt], _segments(spec, i.row))) for i in asked
    ]
    perplexities = (
        dict(zip(((i.cell.key, i.index) for i in asked), engine.perplexity(texts), strict=True)) if asked else {}
    )
    for item, result in zip(items, results, strict=True):
        line = {
            "key": item.cell.key,
            "index": item.index,
            "id": item.row.id,
            "log_scores": [round(score, 6) for score in result.log_scores],
            "coverage": round(result.coverage, 6),
            "text": result.text,
            "top_is_verbalizer": result.top_is_verbalizer,
            "prompt_tokens": result.prompt_tokens,
        }
        if result.reasoning is not None:
            line |= {
                "reasoning": result.reasoning,
                "reasoning_tokens": result.reasoning_tokens,
                "reasoning_truncated": result.reasoning_truncated,
            }
        if (perplexity := perplexities.get((item.cell.key, item.index))) is not None:
            line |= {"mean_nll": round(perplexity.mean_nll, 6), "nll_tokens": perplexity.tokens}
        yield line


def label_batch(
    spec: BatchSpec,
    *,
    model: Path,
    lock: Path,
    corpora: Mapping[str, Path],
    output: Path,
) -> None:
    """Label all cells of a batch with one engine start. A killed run continues where it stopped.

    model: folder of the weights, which does not exist for a model behind a server. corpora: corpus id -> rows file.
    output: the batch's data; `.keys` and sidecars are written next to it.
    Raises ValueError for a stored chunk of another size than its requests.
    """
    rows = {name: read_rows(path) for name, path in corpora.items()}
    store = UnitStore(output, SUFFIX, map(sha256_file, [lock, *corpora.values()]))
    engine = load_engine(spec.engine, model if model.is_dir() else None)
    try:
        work = chunks(spec, rows, engine)
        open_units = set(store.missing([name for name, _ in work]))
        done = sum(len(items) for name, items in work if name not in open_units)
        total = sum(len(items) for _, items in work)
        print(f"labelling: {total} requests in {len(work)} chunks, {done} requests already finished", flush=True)
        with Track("labelling", total - done, "requests") as track:
            for name, items in work:
                if name in open_units:
                    lines = list(_label_chunk(spec, items, engine))
                    store.put(name, lambda path, lines=lines: path.write_bytes(jsonl_bytes(lines)))
                    track.advance(len(items))
        for cell in spec.selects:
            unit = f"{cell.key[:24]}.jsonl"
            if store.missing([unit]):
                question = self_select_prompt(
                    TASKS[cell.category], [spec.prompts[name].template for name in cell.prompts]
                )
                answer = engine.generate([(f"self-select {cell.category}", question)], SELECT_TOKENS)[0]
                line = {"key": cell.key, "answer": answer}
                store.put(unit, lambda path, line=line: path.write_bytes(jsonl_bytes([line])))
        identity = engine.identity()
    finally:
        engine.close()

    lines: list[dict[str, Any]] = []
    for name, items in work:
        part = [json.loads(line) for line in store.path(name).read_text(encoding="utf8").splitlines()]
        if len(part) != len(items):
            raise ValueError(f"{store.path(name)}: {len(part)} lines for {len(items)} requests; delete this file")
        lines += part
    for cell in {cell.key: cell for cell in spec.selects}.values():
        lines += [json.loads(store.path(f"{cell.key[:24]}.jsonl").read_text(encoding="utf8"))]
    lines.sort(key=lambda line: (line["key"], line.get("index", 0)))
    head = {
        "engine": identity,
        "model_lock_sha256": sha256_file(lock),
        "corpora": {name: sha256_file(path) for name, path in sorted(corpora.items())},
    }
    cells = {f"{cell.prompt}/{cell.corpus}": cell.key for cell in spec.labels}
    cells |= {f"{SELF_SELECT}/{cell.category}": cell.key for cell in spec.selects}
    with Step(
        __name__,
        settings=spec.model_dump(),
        inputs=[*corpora.values(), lock],
        more_code=[ENGINES[spec.engine.engine][0]],
        seeds={"engine": spec.engine.seed},
    ) as step:
        step.facts = {"engine": identity}
        step.bytes(output, gzip_bytes(jsonl_bytes([head, *lines])), rows=len(lines))
        step.bytes(output.with_name(output.name.removesuffix(SUFFIX) + ".keys"), keys_text(cells).encode())
