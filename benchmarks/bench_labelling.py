"""Compare labelling in the workflow with the same requests in one plain call of the same engine.

    PYTHONPATH=src python benchmarks/bench_labelling.py --model results/models/smollm2-135m [--engine vllm]

The start of the engine is excluded. The requests are all of the paper's plain SA prompts with as many texts of the
built-in pool as fill the given time. Both sides run in the same process, one after the other, from an empty prefix
cache.
"""

import tempfile
import time
from pathlib import Path

from harness import Row as Measured
from harness import finish, parser, say, wait_until_quiet

from fute.batching import UnitStore
from fute.config.engines import EngineSettings
from fute.config.run import load_run
from fute.data.rows import Row, read_raw_jsonl
from fute.llm.engine import load_engine
from fute.llm.label_batch_step import BatchSpec, LabelCell, _scores, chunks, items_of


def main() -> None:
    options_of = parser(__doc__.splitlines()[0])
    options_of.add_argument("--model", type=Path, required=True)
    options_of.add_argument("--engine", choices=("vllm", "transformers"), default="vllm")
    options_of.add_argument("--seconds", type=float, default=120, help="seconds of work per side")
    options = options_of.parse_args()
    wait_until_quiet(options.allow_load)

    prompts = {p.id: p for p in load_run(Path("config/paper.yaml")).prompts_of("sa") if not p.cot}
    texts = [Row(f"pool/{n}", (row["text"],)) for n, row in read_raw_jsonl(Path("resources/builtin/pool.jsonl"))]
    settings = EngineSettings(engine=options.engine, max_length=2048, enforce_eager=options.engine == "vllm")
    engine = load_engine(settings, options.model)
    cells = tuple(LabelCell(key=f"{name:0<64}", prompt=name, corpus="u") for name in prompts)
    spec = BatchSpec(engine=settings, prompts=prompts, labels=cells)

    def forget() -> None:
        if options.engine == "vllm":
            engine._llm.reset_prefix_cache()

    def plain(rows: list[Row]) -> float:
        work = chunks(items_of(spec, {"u": rows}), engine)
        requests = [item.request for _, items in work for item in items]
        forget()
        started = time.monotonic()
        engine.score(requests)
        return len(requests) / (time.monotonic() - started)

    def workflow(rows: list[Row]) -> float:
        with tempfile.TemporaryDirectory() as folder:
            store = UnitStore(Path(folder) / "b.jsonl.gz", ".jsonl.gz", made_from=())
            forget()
            started, done = time.monotonic(), 0
            for name, items in chunks(items_of(spec, {"u": rows}), engine):
                lines = list(_scores(items, engine))
                store.put(name, lambda path, lines=lines: path.write_text(repr(lines)))
                done += len(items)
            return done / (time.monotonic() - started)

    plain(texts[:20])  # the first call of an engine is slow
    rate = plain(texts[:40])
    count = min(len(texts), max(40, int(options.seconds * rate / len(prompts))))
    rows = texts[:count]
    requests = count * len(prompts)
    say(f"labelling, {options.engine}: {requests} requests per side, about {2 * requests / rate:.0f} s")
    one, other = plain(rows), workflow(rows)
    row = Measured(
        name=f"labelling, {options.engine}",
        size=f"{requests} requests ({count} texts, {len(prompts)} prompts), {options.model.name}",
        ours="chunks, each stored when done",
        other="one plain call of the engine",
        ours_seconds=requests / other,
        other_seconds=requests / one,
        ratio=other / one,
        note="engine start excluded",
    )
    engine.close()
    finish([row], options.rows)


if __name__ == "__main__":
    main()
