"""Label corpora by an LLM with each of its new prompts: the black box M of the paper.

A cell is one (model, prompt, corpus). Its key covers the model, the prompt's words, the corpus, the engine and the
code; prompts with the same words share their cells. One engine start labels a batch of cells. The work of a batch is
cut into fixed chunks, so that a resumed run gives the engine the same chunks as an uninterrupted one and gets the same
numbers. A chunk's answers are stored before its likelihoods (for SPELL) are asked for, and under a name that other
batches of the model find, also after the batch is finished.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fute.artifacts import StaleFile, Step, content_key, gzip_bytes, jsonl_bytes, sha256_file, sidecar_path
from fute.batching import UnitStore, finished_batches, write_keys
from fute.config.engines import EngineSettings
from fute.config.prompts import Prompt, fill, followup, user_message
from fute.config.sections import Section
from fute.data.rows import Row, read_rows
from fute.llm import long_texts
from fute.llm.engine import ENGINES, Engine, PromptTokenizer, ScoreRequest, SpellUnavailable, load_engine
from fute.llm.labelled_rows import drawn_rows
from fute.llm.long_texts import cut_words, tokenizer_of
from fute.llm.self_select import self_select_prompt
from fute.llm.unlabelled import check_unlabelled
from fute.progress import Track

SUFFIX = ".jsonl.gz"
SELECT_TOKENS = 32
SELF_SELECT = "self-select"
# written out, so that an edit of how baselines are named asks for no answer again
WITHOUT_SPELL = "llm: {baselines: [mi, local-e, global-e, zps-log, zps-prob, zps-vote, self-select]}"
LOWEST = -1e6
"""Log-score that stands for minus infinity, which JSON does not have."""


class LabelCell(Section):
    """Labels of one prompt on one corpus.

    perplexity: also compute the likelihood of the filled prompts. answers: hash of everything but the texts that the
    answers under the prompt depend on; with a text it identifies an answer, which an unfinished batch can take from
    another one. base: the key that the cell would have if no text were cut; None: `key`. rows: of the corpus that are
    labelled, see `drawn`; None: all. It is the same in all cells of a corpus.
    """

    key: str
    prompt: str
    corpus: str
    perplexity: bool = False
    answers: str | None = None
    base: str | None = None
    rows: int | None = None


class SelectCell(Section):
    """Choice of the LLM among the prompts of a category (baseline Self-Select). question: its task in words."""

    key: str
    category: str
    question: str
    prompts: tuple[str, ...]


class BatchSpec(Section):
    """Settings of step `label_batch`: everything that one engine start computes.

    max_text_words: texts are cut to this number of words before they enter a prompt; None: never cut. long_texts: what
    happens to texts whose prompt is longer than the engine's `max_length`.
    """

    engine: EngineSettings
    system: str | None = None
    max_text_words: int | None = None
    long_texts: Literal["error", "cut"] = "error"
    prompts: dict[str, Prompt]
    labels: tuple[LabelCell, ...] = ()
    selects: tuple[SelectCell, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One request of a batch: a row of a corpus under a prompt, for one cell.

    segments: the row's texts as they enter the prompt. is_cut: True if they lost their end to `max_length`.
    """

    cell: LabelCell
    index: int
    row: Row
    prompt: Prompt
    system: str | None
    segments: tuple[str, ...]
    is_cut: bool = False

    @property
    def id(self) -> str:
        return f"{self.prompt.id} on {self.row.id}"

    @property
    def request(self) -> ScoreRequest:
        return ScoreRequest(
            id=self.id,
            user=user_message(self.prompt, self.segments),
            system=self.system,
            classes=tuple(tuple(words) for words in self.prompt.verbalizers.values()),
            followup=followup(self.prompt),
        )

    @property
    def plain(self) -> tuple[str, str]:
        """(id, filled prompt), whose likelihood is asked for."""
        return self.id, fill(self.prompt, self.segments)


Chunk = tuple[str, list[Item]]
"""Name of a unit, and the items whose lines it holds, in their order."""


def items_of(spec: BatchSpec, corpora: Mapping[str, Sequence[Row]]) -> list[list[Item]]:
    """Requests of each cell of a batch, cells in the order of their keys, rows in the order of the corpus."""
    unique = {cell.key: cell for cell in spec.labels}

    def item(cell: LabelCell, index: int, row: Row) -> Item:
        segments = tuple(cut_words(segment, spec.max_text_words) for segment in row.segments)
        return Item(cell, index, row, spec.prompts[cell.prompt], spec.system, segments)

    return [[item(cell, *place) for place in enumerate(corpora[cell.corpus])] for _, cell in sorted(unique.items())]


def chunks(items: list[list[Item]], engine: Engine) -> list[Chunk]:
    """Units of work of a batch, the same for every run of the batch.

    items: those of `items_of`, some of them perhaps cut. A unit's name is a hash of its texts and of all that their
    answers depend on, so that every batch of the model with the same unit can use it.

    Engines with a prefix cache get requests ordered by their text, so that prompts with the same beginning follow each
    other. For other engines a chunk holds requests of one cell only, ordered by length, so that the numbers of a cell
    do not depend on the rest of the batch.
    """
    # A chain of thought takes many times longer than a plain answer, so the two never share a chunk.
    if engine.prefers_shared_prefix:
        groups = [[i for cell in items for i in cell if i.prompt.cot is cot] for cot in (False, True)]
        groups = [sorted(g, key=lambda i: (i.request.user, i.cell.key)) for g in groups]
    else:
        groups = [sorted(cell, key=lambda i: (len(i.request.user), i.index)) for cell in items]
    size = engine.chunk_size
    parts = [group[start : start + size] for group in groups for start in range(0, len(group), size)]
    return [(f"{_unit(part)}.jsonl", part) for part in parts]


def _unit(items: Sequence[Item]) -> str:
    return content_key([[item.cell.answers or item.cell.key, item.segments] for item in items])[:24]


def fitted(spec: BatchSpec, items: list[list[Item]], engine: Engine) -> tuple[list[list[Item]], dict[str, int]]:
    """The items with texts that fit into the engine's prompts; and the longest prompt of each cell without a cut text.

    The longest prompts are in tokens, by key of cell. An engine without a tokenizer gets the items as they are, and no
    longest prompts.

    Raises LongTextError, which names them all, for prompts that are too long, and with `long_texts: cut` for those
    whose instruction alone is.
    """
    prompts = tokenizer_of(engine)
    if prompts is None:
        return items, {}
    longest: dict[str, int] = {}
    too_long: list[tuple[str, int, int]] = []
    result = []
    most = long_texts.longest_prompt(prompts, engine.settings.answer_tokens)
    for cell_items in items:
        kept, lengths = [], _lengths(cell_items, engine, prompts)
        if max(lengths) <= most:
            longest[cell_items[0].cell.key] = max(lengths)
        for item, length in zip(cell_items, lengths, strict=True):
            if length <= most:
                kept.append(item)
            elif spec.long_texts == "cut" and (cut := _cut_to(most, item, engine, prompts)):
                kept.append(cut)
            else:
                too_long.append((item.id, length, most))
        result.append(kept)
    choices = []
    for cell in spec.selects:
        length = len(prompts.encode([prompts.render(_question(spec, cell))])[0])
        room = long_texts.longest_prompt(prompts, SELECT_TOKENS)
        if length > room:
            choices.append((f"{SELF_SELECT} {cell.category}", length, room))
    requests = sum(map(len, items)) + len(spec.selects)
    long_texts.refuse(too_long, choices, requests, may_cut=spec.long_texts == "error")
    return result, longest


def _cut_to(most: int, item: Item, engine: Engine, prompts: PromptTokenizer) -> Item | None:
    """The item with its texts cut to a prompt of at most `most` tokens; None if its instruction alone is longer."""

    def fits(segments: tuple[str, ...]) -> bool:
        return _lengths([replace(item, segments=segments)], engine, prompts)[0] <= most

    segments = long_texts.cut(item.segments, fits)
    return None if segments is None else replace(item, segments=segments, is_cut=True)


def _lengths(items: Sequence[Item], engine: Engine, prompts: PromptTokenizer) -> list[int]:
    """Most tokens that each prompt of a cell may have.

    A chain of thought adds all that its reasoning may have, and the question after it. The plain text whose likelihood
    is asked for is a part of the prompt.
    """
    requests = [item.request for item in items]
    room = long_texts.room_for_reasoning(prompts, requests[0], engine.settings.reasoning_tokens)
    return [length + room for length in long_texts.prompt_lengths(prompts, requests)]


def _question(spec: BatchSpec, cell: SelectCell) -> str:
    return self_select_prompt(cell.question, [spec.prompts[name].shown for name in cell.prompts])


def _scores(items: Sequence[Item], engine: Engine) -> Iterator[dict[str, Any]]:
    """What the engine says of each item, without what only says where the item stands."""
    for result in engine.score([item.request for item in items]):
        line = {
            "log_scores": [round(max(score, LOWEST), 6) for score in result.log_scores],
            "coverage": round(result.coverage, 6),
            "text": result.text,
            "top_is_verbalizer": result.top_is_verbalizer,
            "prompt_tokens": result.prompt_tokens,
        }
        if not all(result.seen):
            line |= {"seen": list(result.seen), "first_token": result.first_token}
        if result.reasoning is not None:
            line |= {
                "reasoning": result.reasoning,
                "reasoning_tokens": result.reasoning_tokens,
                "reasoning_truncated": result.reasoning_truncated,
            }
        yield line


def _perplexities(items: Sequence[Item], engine: Engine) -> Iterator[dict[str, Any]]:
    """Likelihood of each item's filled prompt. Raises SpellUnavailable, saying how to do without, if there is none."""
    try:
        answers = engine.perplexity([item.plain for item in items])
    except SpellUnavailable as error:
        raise SpellUnavailable(
            f"{error}. To leave it out, write {WITHOUT_SPELL}: answers that were paid for are kept"
        ) from error
    for answer in answers:
        yield {"mean_nll": round(answer.mean_nll, 6), "nll_tokens": answer.tokens}


PLACE = ("key", "index", "id", "unit", "at", "cut")
"""Fields of a batch's line that say where it stands; `unit`, `at`: the chunk it was asked in, and where in it."""
LIKELIHOOD = ("mean_nll", "nll_tokens")


class _Units:
    """Stored units of a batch, as lines. lock_sha256: of the model's lock, which all units were made from."""

    def __init__(self, output: Path, lock_sha256: str) -> None:
        self.store = UnitStore(output, SUFFIX, [lock_sha256])
        self.folder, self.lock_sha256 = output.parent, lock_sha256

    def adopt(self, sizes: Mapping[str, int]) -> None:
        """Take missing units from other batches of the model: unfinished ones, and finished ones with the same chunks.

        sizes: number of lines by unit.
        """
        self.store.adopt(list(sizes))
        missing = set(self.store.missing(list(sizes)))
        finished = sorted(set(finished_batches(self.folder, SUFFIX).values()))
        for batch in finished if missing else ():
            for name, lines in self._chunks(self.folder / f"{batch}{SUFFIX}", {unit.split(".")[0] for unit in missing}):
                answers = [{field: line[field] for field in line if field not in PLACE + LIKELIHOOD} for line in lines]
                parts = {f"{name}.jsonl": answers}
                if all(field in line for line in lines for field in LIKELIHOOD):
                    parts[f"{name}.nll.jsonl"] = [{field: line[field] for field in LIKELIHOOD} for line in lines]
                for unit in parts.keys() & missing:
                    if len(lines) == sizes[unit]:
                        self.put(unit, parts[unit])
                        missing.discard(unit)

    def _chunks(self, batch: Path, wanted: set[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Yield those of some chunks that a finished batch holds, with their lines in order.

        Nothing is taken from a batch that is not what its record says, or that has none, as in an audit's rerun.
        """
        sidecar = sidecar_path(batch)
        if not sidecar.is_file():
            return
        if json.loads(sidecar.read_bytes())["record"]["sha256"] != sha256_file(batch):
            print(f"{batch}: is not what its record says, so no answers are taken from it", flush=True)
            return
        chunks: dict[str, dict[int, dict[str, Any]]] = {}
        with gzip.open(batch, "rt", encoding="utf8") as stream:
            if json.loads(next(stream))["model_lock_sha256"] == self.lock_sha256:
                for line in map(json.loads, stream):
                    if line.get("unit") in wanted:
                        chunks.setdefault(line["unit"], {})[line["at"]] = line
        for name, lines in chunks.items():
            yield name, [lines[at] for at in sorted(lines)]

    def put(self, unit: str, lines: Sequence[Mapping[str, Any]]) -> None:
        self.store.put(unit, lambda path: path.write_bytes(jsonl_bytes(lines)))

    def read(self, unit: str, expected: int) -> list[dict[str, Any]]:
        """Lines of a unit. Raises StaleFile for another number of them."""
        path = self.store.path(unit)
        # not `splitlines`, which also ends a line at characters that an answer may hold, such as U+2028
        lines = [json.loads(line) for line in path.read_text(encoding="utf8").split("\n") if line]
        if len(lines) != expected:
            raise StaleFile(f"{path}: {len(lines)} lines for {expected} requests; delete this file")
        return lines


class _Unlabelled:
    """First tokens of rows for which no class was seen, by cell; stops a batch when a cell has too many."""

    def __init__(self, corpora: Mapping[str, Sequence[Row]], lock: Path) -> None:
        self.rows = {name: len(rows) for name, rows in corpora.items()}
        self.lock = lock
        self.tokens: dict[str, list[str]] = {}

    def add(self, items: Sequence[Item], lines: Sequence[Mapping[str, Any]]) -> None:
        cells = {}
        for item, line in zip(items, lines, strict=True):
            if not any(line.get("seen", (True,))):
                self.tokens.setdefault(item.cell.key, []).append(line["first_token"])
                cells[item.cell.key] = item.cell
        for key, cell in cells.items():
            check_unlabelled(
                self.tokens[key], self.rows[cell.corpus], prompt=cell.prompt, corpus=cell.corpus, lock=self.lock
            )


def label_batch(
    spec: BatchSpec,
    *,
    model: Path,
    lock: Path,
    corpora: Mapping[str, Path],
    output: Path,
) -> None:
    """Label all cells of a batch with one engine start. A killed run continues where it stopped.

    model: folder of the weights, which need not exist for a model behind a server. corpora: corpus id -> rows file.
    output: the batch's data; `.keys` and sidecars are written next to it. Chunks that another batch of the model has
    asked for already, finished or not, are not asked for again.
    Raises LongTextError before the first request for prompts that are too long; SpellUnavailable, after one request,
    if likelihoods are asked for that the engine does not give; UnlabelledError as soon as no class was seen on more
    than a tenth of the rows of a cell; StaleFile for a stored unit of another size than its requests.
    """
    wanted = {cell.corpus: cell.rows for cell in spec.labels}
    # of what is labelled, and not of what lies there hours later, so that the extraction notices an exchange
    hashes = {name: sha256_file(path) for name, path in sorted(corpora.items())}
    rows = {name: drawn_rows(read_rows(path), wanted[name]) for name, path in corpora.items()}
    units = _Units(output, sha256_file(lock))
    engine = load_engine(spec.engine, model)
    try:
        items, longest = fitted(spec, items_of(spec, rows), engine)
        work = chunks(items, engine)
        resumed = _ask(work, engine, units, _Unlabelled(rows, lock))
        _ask_choices(spec, engine, units)
        identity = engine.identity()
    finally:
        engine.close()

    lines = _lines(spec, work, units)
    cut = _cut_texts(work)
    facts = {"engine": identity} | ({"cut_texts": cut} if cut else {})
    head = facts | {"model_lock_sha256": units.lock_sha256, "corpora": hashes}
    cells = {f"{cell.prompt}/{cell.corpus}": cell.key for cell in spec.labels}
    cells |= {f"{SELF_SELECT}/{cell.category}": cell.key for cell in spec.selects}
    uncut = {cell.key: (cell.base or cell.key, longest[cell.key]) for cell in spec.labels if cell.key in longest}
    with Step(
        __name__,
        settings=spec.model_dump(),
        inputs=[*corpora.values(), lock],
        more_code=[ENGINES[spec.engine.engine][0]],
        seeds={"engine": spec.engine.seed},
    ) as step:
        step.facts, step.resumed = facts, resumed
        step.bytes(output, gzip_bytes(jsonl_bytes([head, *lines])), rows=len(lines))
        write_keys(step, output, SUFFIX, cells, uncut)


def _cut_texts(work: Sequence[Chunk]) -> int:
    return sum(item.is_cut for _, part in work for item in part)


def _likelihoods(part: Sequence[Item]) -> list[Chunk]:
    """Unit of the likelihoods of a chunk, with the items that they are asked for; none if it has no such items."""
    asked = [item for item in part if item.cell.perplexity]
    return [(f"{_unit(asked)}.nll.jsonl", asked)] if asked else []


def _choice(cell: SelectCell) -> str:
    """Unit of the answer to a Self-Select cell."""
    return f"{cell.key[:24]}.jsonl"


def _ask(work: Sequence[Chunk], engine: Engine, units: _Units, unlabelled: _Unlabelled) -> bool:
    """Ask for the answers of each chunk, and after them for its likelihoods, as far as no unit has them.

    Returns whether some had any.
    """
    store = units.store
    likelihoods = [each for _, part in work for each in _likelihoods(part)]
    both = [*work, *likelihoods]
    units.adopt({name: len(part) for name, part in both})
    open_units = set(store.missing([name for name, _ in both]))
    done = sum(len(part) for name, part in both if name not in open_units)
    total = sum(len(part) for _, part in both)
    print(f"labelling: {total} requests in {len(both)} chunks, {done} requests already finished", flush=True)
    if cut := _cut_texts(work):
        print(f"labelling: the texts of {cut} requests are cut to fit into max_length", flush=True)
    asked_first: dict[str, list[dict[str, Any]]] = {}
    if tokenizer_of(engine) is None:
        # a server that gives no likelihoods must cost one request, not all answers before the first likelihood
        for name, asked in likelihoods:
            if name in open_units:
                asked_first[name] = list(_perplexities(asked[:1], engine))
                break
    with Track("labelling", total - done, "requests") as track:
        for name, part in work:
            if store.missing([name]):
                units.put(name, list(_scores(part, engine)))
            if name in open_units:
                track.advance(len(part))
            unlabelled.add(part, units.read(name, len(part)))
            for unit, asked in _likelihoods(part):
                if store.missing([unit]):
                    lines = asked_first.get(unit, [])
                    units.put(unit, [*lines, *_perplexities(asked[len(lines) :], engine)])
                if unit in open_units:
                    track.advance(len(asked))
    return done > 0


def _ask_choices(spec: BatchSpec, engine: Engine, units: _Units) -> None:
    """Ask which prompt of each category the LLM would choose, as far as no unit has the answer."""
    for cell in spec.selects:
        unit = _choice(cell)
        units.store.adopt([unit])
        if units.store.missing([unit]):
            answer = engine.generate([(f"{SELF_SELECT} {cell.category}", _question(spec, cell))], SELECT_TOKENS)[0]
            units.put(unit, [{"key": cell.key, "answer": answer}])


def _lines(spec: BatchSpec, work: Sequence[Chunk], units: _Units) -> list[dict[str, Any]]:
    """The lines of a batch whose units are all there, by cell and place in the corpus."""
    lines: list[dict[str, Any]] = []
    for name, part in work:
        likelihood_of = {
            (item.cell.key, item.index): line
            for unit, asked in _likelihoods(part)
            for item, line in zip(asked, units.read(unit, len(asked)), strict=True)
        }
        for at, (item, line) in enumerate(zip(part, units.read(name, len(part)), strict=True)):
            place = {"key": item.cell.key, "index": item.index, "id": item.row.id}
            place |= {"unit": name.removesuffix(".jsonl"), "at": at}
            marked = {"cut": True} if item.is_cut else {}
            lines.append(place | line | marked | likelihood_of.get((item.cell.key, item.index), {}))
    for cell in {cell.key: cell for cell in spec.selects}.values():
        lines += units.read(_choice(cell), 1)
    return sorted(lines, key=lambda line: (line["key"], line.get("index", 0)))
