"""From a configuration to targets, cells and batches: the pure functions behind the rules.

Everything here is computed when the Snakefile is parsed, so nothing heavy is imported and nothing written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from fute import batching
from fute.artifacts import SIDECAR, canonical_json, content_key
from fute.config import ConfigError, Run, read_yaml
from fute.data.crossfit_files import unsup_identity
from fute.data.prompts import Prompt
from fute.data.sources import source_identity
from fute.llm import labelling
from fute.lm_config import LM
from fute.lm_workflow import LmWorkflow, requested_pair
from fute.recipes import EmbeddingSpec, Item, MethodSettings, SurrogateSettings, reads_shared_states
from fute.step_code import code

RESOURCES = Path("resources")
LABELS = re.compile(
    r"results/labels/(?P<model>[^/]+)/(?!batches/)(?P<task>[^/]+)/(?P<corpus>[^/]+?)(?:\.jsonl\.gz|\.offset\.json)"
)
MTE = re.compile(
    r"results/embeddings/[^/]+/(?P<method>[^/]+)/(?:mte|controls)/(?P<model>[^/]+)/(?P<task>[^/]+?)"
    r"(?:\.(?P<variant>null-\d+|abc))?\.safetensors"
)
DTE = re.compile(r"results/embeddings/[^/]+/(?P<method>[^/]+)/dte/(?P<dataset>[^/]+)\.safetensors")
BEFORE_LABELS = re.compile(r"results/(data|unsup|models|finetuned|baselines/vectors)/.*")
EMBEDDING_SUFFIX = ".zip"
# keys of a registry entry that do not shape evaluation rows
TRAINING_ONLY = ("title", "overlaps", "overlap_by", "files", "expected", "vu_size", "obtain", "metric", "domain")
# the batch's settings are one command-line argument, and Linux takes 128 KiB of it
MOST_VECTORS_A_PROCESS = 200
SELF_SELECT = labelling.SELF_SELECT


class Requested(NamedTuple):
    """What the workflow's targets need: label cells, files of vectors, transfer pairs. None: all of them."""

    labels: frozenset[tuple[str, ...]] | None = None
    embeddings: frozenset[str] | None = None
    transfers: frozenset[tuple[str, str]] | None = None


class Workflow:
    """All that the rules ask: which files to make, from what, with which settings.

    The parts are common to both experiments or the LLM experiment's; `lm` has those of the language models.
    run: the checked configuration. targets: what Snakemake was asked for; a request for single files narrows
    the cells that are labelled and embedded to those these files need. results: folder looked through for
    finished batches. images: image -> sha256 of those whose change makes batches again; none unless the run asks for
    it. Raises ConfigError for a configuration without an experiment (`fute embed` needs none).
    """

    def __init__(
        self,
        run: Run,
        targets: Iterable[str] = (),
        results: Path = Path("results"),
        images: Mapping[str, str] | None = None,
    ) -> None:
        if not run.config.corpora:
            raise ConfigError("there is no experiment to run: name datasets in llm.datasets, or give the section lm")
        self.run, self.config, self.results = run, run.config, results
        self.targets = tuple(targets)
        self.images = dict(images or {})
        self.lm = LmWorkflow(self, run.config.lm) if run.config.lm else None

    # --- sources ----------------------------------------------------------------------------------------

    @property
    def data_root(self) -> Path:
        """Folder the data source reads; the texts that ship with the project for `builtin`."""
        data = self.config.data
        return RESOURCES / "builtin" if data.source == "builtin" else Path(data.root or ".").expanduser()

    def source_folders(self) -> list[Path]:
        """What steps read besides results: the data, models and plug-ins in folders of their own, a printed matrix."""
        lm = self.lm.settings if self.lm else None
        entries = [self.run.models[name] for name in (*self.models, *(lm.models if lm else ()))]
        folders = [entry.folder for entry in (*entries, *(lm.plugins.values() if lm else ()))]
        given = [lm.transfer.file] if lm else []
        return [self.data_root, *(Path(path) for path in (*folders, *given) if path)]

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The LLMs and the surrogate."""
        return tuple(dict.fromkeys((*self.config.llm.models, self.config.surrogate.name)))

    def model_folder(self, model: str) -> str:
        return f"results/models/{model}"

    def model_lock(self, model: str) -> str:
        return f"results/models/{model}.lock.json"

    @cache  # noqa: B019  (one Workflow lives as long as the process)
    def source(self, dataset: str) -> dict[str, Any]:
        return source_identity(dataset, self.run.datasets[dataset], self.config.data.source, self.data_root)

    @cache  # noqa: B019
    def unsup_source(self, category: str) -> dict[str, Any]:
        return unsup_identity(self.config.unsup[category], self.data_root)  # type: ignore[index]

    @cache  # noqa: B019
    def dataset_settings(self, dataset: str) -> dict[str, Any]:
        """Everything that shapes a dataset's splits, the exclusion of other datasets' rows apart."""
        data = self.config.data
        return {
            "dataset": dataset,
            "entry": self.run.datasets[dataset].model_dump(),
            "source": data.source,
            "test_rows": data.test_rows,
            "train_rows": data.train_rows,
            "dev_share": data.dev_share,
            "seed": self.config.seed,
        }

    @cache  # noqa: B019
    def test_recipe(self, dataset: str) -> dict[str, Any]:
        """What identifies a dataset's evaluation rows: nothing that shapes its training rows only."""
        settings = self.dataset_settings(dataset)
        entry = {name: value for name, value in settings["entry"].items() if name not in TRAINING_ONLY}
        entry["reader"] = self.run.datasets[dataset].reader_of(self.config.data.source)
        source = self.source(dataset)
        if "files" in source:
            source = source | {"files": [file for file in source["files"] if file.get("part") != "train"]}
        return {
            "entry": entry,
            "data": source,
            **{name: settings[name] for name in ("dataset", "source", "test_rows", "seed")},
            "code": code("data"),
        }

    def overlaps(self, dataset: str) -> tuple[str, ...]:
        """Datasets of the run whose evaluation rows may stand in this dataset's training rows."""
        known = self.all_datasets()
        return tuple(name for name in self.run.datasets[dataset].overlaps if name in known)

    @cache  # noqa: B019
    def train_recipe(self, dataset: str) -> dict[str, Any]:
        return {
            "own": [self.dataset_settings(dataset), self.source(dataset), code("data")],
            "without": [self.test_recipe(name) for name in self.overlaps(dataset)],
        }

    def unsup_settings(self, category: str) -> dict[str, Any]:
        return {"category": category, "settings": self.config.unsup[category].model_dump()}  # type: ignore[index]

    @cache  # noqa: B019
    def corpus_recipe(self, corpus: str) -> dict[str, Any]:
        """What identifies the texts of a corpus: a U, or a dataset's evaluation rows."""
        if corpus in self.config.corpora:
            return {
                "unsup": self.unsup_settings(corpus),
                "data": self.unsup_source(corpus),
                "code": code("data"),
            }
        return self.test_recipe(corpus)

    def corpus_file(self, corpus: str) -> str:
        if corpus in self.config.corpora:
            return f"results/unsup/{corpus}.jsonl.gz"
        return f"results/data/{corpus}/test.jsonl.gz"

    def run_by(self, image: str, code_sha256: str) -> str:
        """What runs the steps of a batch: their code and, where the run asks for it, their image."""
        return content_key([code_sha256, self.images[image]]) if image in self.images else code_sha256

    # --- labels -----------------------------------------------------------------------------------------

    def corpora_of(self, category: str) -> tuple[str, ...]:
        return (category, *self.run.datasets_of(category))

    def category_of(self, task: str) -> str:
        """Whose U the black boxes of a task label: a prompt's category, or that of the language models."""
        return self.run.prompts[task].category if task in self.run.prompts else LM

    @cached_property
    def label_cells(self) -> dict[tuple[str, str, str], str]:
        """(model, task, corpus) -> key of every label cell of the configuration, Self-Select's among them."""
        llm, found = self.config.llm, {}
        engine_code = self.run_by("labels", code("label", f"fute.llm.{llm.engine.engine}"))
        recipe = {
            corpus: content_key(self.corpus_recipe(corpus))
            for c in self.config.categories
            for corpus in self.corpora_of(c)
        }
        for model in llm.models:
            identity = self.run.models[model].identity()
            for category in self.config.categories:
                prompts = self.run.prompts_of(category)
                for prompt in prompts:
                    for corpus in self.corpora_of(category):
                        found[model, prompt.id, corpus] = labelling.label_key(
                            identity, llm.engine, llm.system, llm.max_text_words,
                            prompt, recipe[corpus], corpus != category, engine_code,
                        )  # fmt: skip
                found[model, SELF_SELECT, category] = labelling.select_key(identity, llm.engine, prompts, engine_code)
        return found

    @cached_property
    def requested(self) -> Requested:
        """What the workflow's targets need; everything where one of them is not a file of its own."""
        labels: set[tuple[str, ...]] = set()
        embeddings: set[str] = set()
        transfers: set[tuple[str, str]] = set()
        for target in (name.removesuffix(SIDECAR) for name in self.targets):
            if match := LABELS.fullmatch(target):
                model, task, corpus = match["model"], match["task"], match["corpus"]
                labels.add((model, task, corpus))
                labels.add((model, task, self.category_of(task) if task in self.run.prompts else corpus))
            elif match := MTE.fullmatch(target):
                embeddings.add(target)
                if match["task"] in self.run.prompts:
                    labels.add((match["model"], match["task"], self.category_of(match["task"])))
            elif DTE.fullmatch(target):
                embeddings.add(target)
            elif pair := requested_pair(target):
                transfers.add(pair)
            elif not BEFORE_LABELS.fullmatch(target):
                return Requested()
        if not self.targets:
            return Requested()
        return Requested(frozenset(labels), frozenset(embeddings), frozenset(transfers))

    def label_folder(self, model: str) -> Path:
        return self.results / "labels" / model / "batches"

    @cached_property
    def label_plans(self) -> dict[str, batching.Plan]:
        """Per model: which batch holds which cell. One new batch a category at most."""
        plans = {}
        asked = self.requested.labels
        for model in self.config.llm.models:
            finished = batching.finished_batches(self.label_folder(model), labelling.SUFFIX)
            batch_of: dict[str, str] = {}
            new: dict[str, tuple[str, ...]] = {}
            for category in self.config.categories:
                wanted = {
                    f"{task}/{corpus}": key
                    for (m, task, corpus), key in self.label_cells.items()
                    if m == model
                    and corpus in self.corpora_of(category)
                    and (asked is None or (m, task, corpus) in asked)
                }
                part = batching.plan(wanted, finished)
                batch_of |= part.batch_of
                new |= part.new
            plans[model] = batching.Plan(batch_of, new)
        return plans

    def label_batch_file(self, model: str, task: str, corpus: str) -> str:
        plan = self.label_plans[model]
        return f"results/labels/{model}/batches/{plan.batch_of[f'{task}/{corpus}']}{labelling.SUFFIX}"

    @cached_property
    def new_label_batches(self) -> tuple[str, ...]:
        return tuple(sorted(name for plan in self.label_plans.values() for name in plan.new))

    def batch_corpora(self, model: str, batch: str) -> list[str]:
        cells = [cell.split("/") for cell in self.label_plans[model].new[batch]]
        return sorted({corpus for task, corpus in cells if task != SELF_SELECT})

    @cache  # noqa: B019
    def label_spec(self, model: str, batch: str) -> str:
        """The batch's settings as canonical JSON (a `labelling.BatchSpec`)."""
        llm = self.config.llm
        prompts: dict[str, Prompt] = {}
        labels: dict[str, labelling.LabelCell] = {}
        selects = []
        for cell in self.label_plans[model].new[batch]:
            task, corpus = cell.split("/")
            key = self.label_cells[model, task, corpus]
            if task == SELF_SELECT:
                of_category = self.run.prompts_of(corpus)
                prompts |= {p.id: p for p in of_category}
                selects.append(labelling.SelectCell(key=key, category=corpus, prompts=tuple(p.id for p in of_category)))
            elif key not in labels:
                prompts[task] = self.run.prompts[task]
                labels[key] = labelling.LabelCell(
                    key=key, prompt=task, corpus=corpus, perplexity=corpus not in self.config.categories
                )
        spec = labelling.BatchSpec(
            engine=llm.engine, system=llm.system, max_text_words=llm.max_text_words,
            prompts=prompts, labels=tuple(labels.values()), selects=tuple(selects),
        )  # fmt: skip
        return canonical_json(spec.model_dump())

    def extract_settings(self, model: str, task: str, corpus: str) -> str:
        prompt = self.run.prompts[task]
        return canonical_json(
            {
                "key": self.label_cells[model, task, corpus],
                "prompt": prompt.id,
                "number": prompt.number,
                "classes": list(prompt.verbalizers),
                "calibration": self.config.llm.calibration,
            }
        )

    # --- embeddings -------------------------------------------------------------------------------------

    def embedding_folder(self, method: str) -> str:
        return f"results/embeddings/{self.config.surrogate.name}/{method}"

    def dte_file(self, method: str, dataset: str) -> str:
        return f"{self.embedding_folder(method)}/dte/{dataset}.safetensors"

    def mte_file(self, method: str, model: str, task: str) -> str:
        return f"{self.embedding_folder(method)}/mte/{model}/{task}.safetensors"

    def control_file(self, method: str, model: str, task: str, variant: str) -> str:
        return f"{self.embedding_folder(method)}/controls/{model}/{task}.{variant}.safetensors"

    @cached_property
    def variants(self) -> tuple[str, ...]:
        controls = self.config.controls
        return (
            *(f"null-{i}" for i in range(1, controls.null_draws + 1)),
            *(("abc",) if controls.abc else ()),
        )

    @cached_property
    def recipes(self) -> dict[str, list[MethodSettings]]:
        """The different recipes of each method: of DTEs, of MTEs, and of their controls.

        A control takes the first order seed only, and is held against the MTE of that seed; so may the language-model
        experiment.
        """
        found: dict[str, list[MethodSettings]] = {}
        for method in self.config.methods:
            own = self.config.method(method)
            found[method] = []
            dtes = [own.dte_for(self.run.datasets[name].task) for name in self.all_datasets()]
            if self.config.lm and self.config.lm.first_order:
                dtes += [recipe.first_order() for recipe in dtes]
            for recipe in (*dtes, own.mte, own.mte.first_order()):
                if recipe not in found[method]:
                    found[method].append(recipe)
        return found

    def embedding_basis(self, method: str, settings: SurrogateSettings) -> list[Any]:
        """What every vector of a method and of these surrogate settings is made with."""
        identity = self.run.models[self.config.surrogate.name].identity()
        return [identity, settings.model_dump(), method, self.run_by("train", code("embed"))]

    def dte_item(self, method: str, dataset: str, settings: SurrogateSettings, *, first_order: bool = False) -> Item:
        recipe, entry = self.config.method(method), self.run.datasets[dataset]
        how = recipe.dte_for(entry.task)
        how = how.first_order() if first_order else how
        what = {"recipe": how.model_dump(), "pairs": recipe.pairs, "seed": self.config.seed}
        key = content_key([*self.embedding_basis(method, settings), what, self.train_recipe(dataset)])
        return Item(
            key=key, kind="dte", category=entry.category, source=dataset, variant=None,
            recipe=self.recipes[method].index(how), pairs=recipe.pairs, target="label", seed=self.config.seed,
            classes=tuple(entry.classes),
        )  # fmt: skip

    @cached_property
    def llm_embedding_items(self) -> dict[str, Item]:
        """File -> item of every embedding of the LLM experiment."""
        found: dict[str, Item] = {}
        for method in self.config.methods:
            basis = self.embedding_basis(method, self.config.surrogate.settings)
            for category in self.config.categories:
                for dataset in self.run.datasets_of(category):
                    path = self.dte_file(method, dataset)
                    found[path] = self.dte_item(method, dataset, self.config.surrogate.settings)
                for model in self.config.llm.models:
                    for prompt in self.run.prompts_of(category):
                        variants: tuple[str | None, ...] = (None,)
                        if method in self.config.controls.methods:
                            variants += self.variants
                        for variant in variants:
                            path = (self.mte_file(method, model, prompt.id) if variant is None
                                    else self.control_file(method, model, prompt.id, variant))  # fmt: skip
                            found[path] = self._mte_item(method, basis, model, prompt, variant)
        return found

    @cached_property
    def embedding_items(self) -> dict[str, Item]:
        """File -> item of every embedding of the run; a dataset of both experiments has one."""
        return (self.lm.embedding_items if self.lm else {}) | self.llm_embedding_items

    def _mte_item(self, method: str, basis: list[Any], model: str, prompt: Prompt, variant: str | None) -> Item:
        recipe = self.config.method(method)
        how = recipe.mte if variant is None else recipe.mte.first_order()
        target = "abc" if variant == "abc" else self.config.mte_target
        what = {
            "recipe": how.model_dump(),
            "pairs": recipe.pairs,
            "target": target,
            "verbalizers": prompt.verbalizers if target == "verbalizer" else None,
            "variant": variant,
            "seed": self.config.seed,
            "calibration": self.config.llm.calibration,
            "extract": code("extract"),
        }
        key = content_key(
            [*basis, what | self.states_from(method), self.label_cells[model, prompt.id, prompt.category]]
        )
        return Item(
            key=key, kind="mte", category=prompt.category, source=f"{model}/{prompt.id}", variant=variant,
            recipe=self.recipes[method].index(how), pairs=recipe.pairs, target=target, seed=self.config.seed,
            classes=tuple(prompt.verbalizers),
            verbalizers=tuple(words[0] for words in prompt.verbalizers.values()) if target == "verbalizer" else None,
        )  # fmt: skip

    @cached_property
    def embedding_plans(self) -> dict[str, batching.Plan]:
        """Per method: which batch holds which vector. The experiments' vectors are learned in batches of their own."""
        plans = {}
        asked = self.requested.embeddings
        of_lm = {path: item for path, item in self.embedding_items.items() if path not in self.llm_embedding_items}
        size = self.config.embeddings_per_process or MOST_VECTORS_A_PROCESS
        for method in self.config.methods:
            folder = self.results / Path(self.embedding_folder(method)).relative_to("results") / "batches"
            finished = batching.finished_batches(folder, EMBEDDING_SUFFIX)
            batch_of: dict[str, str] = {}
            new: dict[str, tuple[str, ...]] = {}
            for items in (self.llm_embedding_items, of_lm):
                wanted = {
                    path: item.key
                    for path, item in items.items()
                    if path.startswith(self.embedding_folder(method) + "/") and (asked is None or path in asked)
                }
                part = batching.plan(wanted, finished, size)
                batch_of |= part.batch_of
                new |= part.new
            plans[method] = batching.Plan(batch_of, new)
        return plans

    @cached_property
    def new_embedding_batches(self) -> tuple[str, ...]:
        return tuple(sorted(name for plan in self.embedding_plans.values() for name in plan.new))

    def embedding_batch_file(self, method: str, path: str) -> str:
        return (
            f"{self.embedding_folder(method)}/batches/{self.embedding_plans[method].batch_of[path]}{EMBEDDING_SUFFIX}"
        )

    @cache  # noqa: B019
    def batch_items(self, method: str, batch: str) -> dict[str, Item]:
        """key -> item of a new embedding batch; targets with equal keys are computed once."""
        cells = self.embedding_plans[method].new[batch]
        return {self.embedding_items[cell].key: self.embedding_items[cell] for cell in reversed(cells)}

    def embedding_inputs(self, method: str, batch: str) -> dict[str, str]:
        """What the items of a batch are learned from: a name for each file."""
        found = {}
        for item in self.batch_items(method, batch).values():
            if item.kind == "dte":
                found[f"train:{item.source}"] = f"results/data/{item.source}/train.jsonl.gz"
                found[f"dev:{item.source}"] = f"results/data/{item.source}/dev.jsonl.gz"
            else:
                found[f"unsup:{item.category}"] = f"results/unsup/{item.category}.jsonl.gz"
                found[f"labels:{item.source}"] = f"results/labels/{item.source}/{item.category}.jsonl.gz"
                if self.shares_states(method):
                    found[f"states:{item.category}"] = self.states_file(item.category)
        return dict(sorted(found.items()))

    def shares_states(self, method: str) -> bool:
        """Whether a method's MTEs read the encoder's states of U, computed once for all of them."""
        return reads_shared_states(self.config.method(method).mte, self.config.surrogate.settings.family)

    def states_from(self, method: str) -> dict[str, Any]:
        """What identifies the shared states of U that a method's MTEs read, as a part of their keys."""
        if not self.shares_states(method):
            return {}
        # their last bits depend on how, and beside which texts, they were computed
        return {"states": [code("encode"), self.texts_with_states]}

    def encoder_settings(self, corpus: str) -> dict[str, Any]:
        """The surrogate's settings that shape the states of a corpus."""
        return self.surrogate_settings(corpus).model_dump(include={"family", "dtype", "max_input_tokens"})

    def states_file(self, category: str) -> str:
        return f"results/embeddings/{self.config.surrogate.name}/states/{category}.safetensors"

    @property
    def texts_with_states(self) -> int | None:
        """How many texts of U the methods that share states read (None: all)."""
        pairs = [self.config.method(name).pairs for name in self.config.methods if self.shares_states(name)]
        return None if None in pairs else max(pairs, default=0)

    def embedding_spec(self, method: str, batch: str) -> str:
        """The batch's settings as canonical JSON (an `EmbeddingSpec`)."""
        of_llm = self.embedding_plans[method].new[batch][0] in self.llm_embedding_items
        spec = EmbeddingSpec(
            method=method,
            surrogate=self.config.surrogate.name,
            settings=self.surrogate_settings(LM if not of_llm else None),
            recipes=tuple(recipe.model_dump() for recipe in self.recipes[method]),
            items=tuple(item for _, item in sorted(self.batch_items(method, batch).items())),
        )
        return canonical_json(spec.model_dump())

    def surrogate_settings(self, corpus: str | None) -> SurrogateSettings:
        """How the surrogate reads what is learned on a corpus: the language models' texts may have another length."""
        return self.lm.surrogate if self.lm and corpus == LM else self.config.surrogate.settings

    # --- targets ----------------------------------------------------------------------------------------

    @cached_property
    def tasks(self) -> list[tuple[str, str, str]]:
        """(category, model, prompt id) of every black box of the LLM experiment."""
        return [
            (category, model, prompt.id)
            for category in self.config.categories
            for model in self.config.llm.models
            for prompt in self.run.prompts_of(category)
        ]

    @property
    def task_ids(self) -> tuple[str, ...]:
        """What a black box's task may be: a prompt, a dataset it was fine-tuned on, or a plug-in's own."""
        return (*self.run.prompts, *(self.lm.tasks if self.lm else ()))

    def llm_datasets(self) -> list[str]:
        return [name for category in self.config.categories for name in self.run.datasets_of(category)]

    def all_datasets(self) -> list[str]:
        """Datasets of both experiments, each once."""
        return list(dict.fromkeys((*self.llm_datasets(), *(self.lm.targets if self.lm else ()))))

    def phases(self) -> dict[str, list[str]]:
        """Files of the phases that both experiments, or rules of several stages, have a part in."""
        lm = self.lm
        return {
            "finetuned": [lm.finetuned_file(*made) for made in lm.finetuned] if lm else [],
            "labels": self.label_files() + (lm.label_files() if lm else []),
            "embeddings": list(self.embedding_items),
            "transfer": ["results/evaluation/transfer.csv", *lm.transfer_files()] if lm else [],
        }

    def label_files(self, corpora: str = "all") -> list[str]:
        """Label files of the run: on U ("unsup"), on the evaluation rows ("test"), or both."""
        return [
            f"results/labels/{model}/{task}/{corpus}.jsonl.gz"
            for category, model, task in self.tasks
            for corpus in self.corpora_of(category)
            if corpora == "all" or (corpus == category) == (corpora == "unsup")
        ]

    def embedding_files(self, kind: str = "all") -> list[str]:
        """Embedding files of the LLM experiment: "main" (DTEs and MTEs), "controls", or all."""
        return [
            path for path in self.llm_embedding_items
            if kind == "all" or ("/controls/" in path) == (kind == "controls")
        ]  # fmt: skip

    def baseline_files(self) -> list[str]:
        return [
            f"results/baselines/{model}/{dataset}.json"
            for category in self.config.categories
            for model in self.config.llm.models
            for dataset in self.run.datasets_of(category)
        ]

    def baseline_flags(self, dataset: str) -> str:
        """Flags of `fute baseline-scores` for a dataset: the slips of the authors' code that are to be repeated."""
        slips = self.config.baselines
        flip = slips.zps_sa_flip and self.run.datasets[dataset].category == "sa"
        return " ".join(["--zps-flip"] * flip + ["--list-as-scores"] * slips.self_select_list_as_scores)

    # --- settings of the evaluation and of the paper's artifacts ---------------------------------------

    def mte_files(self) -> list[str]:
        return [path for path in self.llm_embedding_items if "/mte/" in path]

    def _prompts(self) -> dict[str, tuple[str, ...]]:
        return {c: tuple(p.id for p in self.run.prompts_of(c)) for c in self.config.categories}

    def _datasets(self) -> dict[str, tuple[str, ...]]:
        return {c: self.run.datasets_of(c) for c in self.config.categories}

    def similarity_settings(self) -> dict[str, Any]:
        return {
            "surrogate": self.config.surrogate.name,
            "methods": self.config.methods,
            "models": self.config.llm.models,
            "prompts": self._prompts(),
            "datasets": self._datasets(),
            "control_methods": self.config.controls.methods,
            "variants": self.variants,
        }

    def selection_settings(self) -> dict[str, Any]:
        return {
            "models": self.config.llm.models,
            "prompts": self._prompts(),
            "datasets": self._datasets(),
            "methods": self.config.methods,
            "calibration": self.config.llm.calibration,
            "nli_metric": self.config.llm.nli_metric,
            "draws": self.config.evaluation.draws,
            "seed": self.config.seed,
        }

    def geometry_settings(self) -> dict[str, Any]:
        prompts = {p.id: (p.category, p.number, p.cot) for p in self.run.prompts.values()}
        return {"prompts": prompts, "seed": self.config.evaluation.tsne_seed}

    def figure_views(self) -> list[tuple[str, str, str]]:
        """(file name suffix, method, view) of every drawing of a figure; the first is the paper's."""
        main = "tupate" if "tupate" in self.config.methods else self.config.methods[0]
        views = [("", main, "raw")]
        views += [(f"-{method}", method, "raw") for method in self.config.methods if method != main]
        if main == "tupate":
            views.append(("-centred", main, "centred"))
        return views

    @cached_property
    def captions(self) -> dict[str, dict[str, str]]:
        return read_yaml(RESOURCES / "captions.yaml")

    def table_settings(self, name: str) -> dict[str, Any]:
        return {**self.captions[name], "note": self.config.note or ""}

    def efficiency_files(self, experiment: str) -> list[str]:
        """What an experiment's costs are read from: the `.keys` of its batches, and the label files of its LLMs."""
        of_llm = experiment == "llm"
        paths = [path for path in self.embedding_items if (path in self.llm_embedding_items) == of_llm]
        batches = {self.embedding_batch_file(path.split("/")[3], path) for path in paths}
        if of_llm:
            batches |= {self.label_batch_file(*cell) for cell in self.label_cells}
        keys = {re.sub(r"\.(zip|jsonl\.gz)$", batching.KEYS, name) for name in batches}
        return sorted(keys) + (self.label_files() if of_llm else [])

    def efficiency_settings(self) -> dict[str, Any]:
        prompts = {name: prompt.category for name, prompt in self.run.prompts.items()}
        return {"prompts": prompts, **self.table_settings("efficiency")}

    def figure_settings(self, figure: str, method: str, view: str) -> dict[str, Any]:
        return {"figure": figure, "method": method, "view": view, "note": self.config.note or ""}


def settings_json(values: Mapping[str, Any]) -> str:
    return canonical_json(dict(values))
