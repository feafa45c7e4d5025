"""The configuration: what ships loads, the defaults are the paper's, and mistakes are named with file and key."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.categories import CONTEXT, ENTRIES
from support.least_run import POOL, REGISTRIES, refused, values

from fute.config.run import load_run, parse_run, read_yaml
from fute.config.sections import ConfigError
from fute.config.settings import Config

ROOT = Path(__file__).parents[3]
# registries lie in the same folder; every other file there is a run
SHIPPED = [ROOT / "config.yaml", *(p for p in sorted(REGISTRIES.glob("*.yaml")) if "name" in read_yaml(p))]


@pytest.fixture
def registries(tmp_path: Path) -> Path:
    """A copy of the registries to spoil."""
    return shutil.copytree(REGISTRIES, tmp_path / "config")


def with_model(registries: Path, entry: str) -> str:
    """What is said of the model registry with one more entry."""
    path = registries / "models.yaml"
    path.write_text(path.read_text() + entry)
    with pytest.raises(ConfigError) as error:
        parse_run(values(), registries)
    assert str(path) in str(error.value)
    return str(error.value)


def test_two_entries_of_one_id_are_named_with_file_and_line(registries):
    said = with_model(registries, "gpt2: {title: Another, folder: there}\n")
    assert "the key 'gpt2' is given twice; keep one entry" in said and "line" in said
    path = registries / "datasets.yaml"
    path.write_text(path.read_text() + "rte: {title: Another}\n")
    (registries / "models.yaml").write_text((REGISTRIES / "models.yaml").read_text())
    with pytest.raises(ConfigError, match=r"datasets\.yaml: not valid YAML: (.|\n)*the key 'rte' is given twice"):
        parse_run(values(), registries)


@pytest.mark.parametrize("name", ["null", "true", "1", "01", "010", "1_000", "1.10", "12:30", "2024-01-01", "~"])
def test_an_id_that_yaml_takes_for_something_else_is_refused_and_never_another_id(registries, name):
    assert "is no text to YAML; put it in quotes" in with_model(registries, f"{name}: {{repo: a/b}}\n")
    path = registries / "models.yaml"
    path.write_text((REGISTRIES / "models.yaml").read_text() + f'"{name.replace(":", ".")}": {{repo: a/b}}\n')
    if name not in ("1_000", "~"):  # not an id, quoted or not
        assert name.replace(":", ".") in parse_run(values(), registries).models


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": None}, "my.yaml: name: None is no text to YAML; put it in quotes"),
        ({"name": 1}, "my.yaml: name: 1 is no text to YAML"),
        ({"llm": {"models": [True]}}, "my.yaml: llm.models.0: True is no text to YAML"),
        ({"llm": {"datasets": {"sa": [1.5]}}}, "my.yaml: llm.datasets.sa.0: 1.5 is no text to YAML"),
        ({"llm": {"datasets": {"sa": ["sst2", "imdb", "sst2"]}}}, "my.yaml: llm.datasets.sa: 'sst2' is named twice"),
        ({"llm": {"models": ["gpt2", "gpt2"]}}, "my.yaml: llm.models: 'gpt2' is named twice; name it once"),
        ({"llm": {"prompts": {"sa": [1, 3, 1]}}}, "my.yaml: llm.prompts.sa: 1 is named twice"),
        ({"methods": ["tupate", "tupate"]}, "my.yaml: methods: 'tupate' is named twice"),
        ({"llm": {"datasets": {"sa": ["nli"]}}}, "my.yaml: llm.datasets.sa: 'nli' means something else in results"),
        ({"llm": {"datasets": {"sa": ["none"]}}}, "'none' means something else in results; rename it"),
    ],
)
def test_names_that_are_no_text_twice_or_taken_are_refused(changes, said):
    assert said in refused(**changes) and "\n" not in refused(**changes)


def test_a_prompt_of_a_baselines_name_is_refused(registries):
    path = registries / "prompts/sa.yaml"
    path.write_text(path.read_text().replace("id: sa-3\n", "id: self-select\n"))
    with pytest.raises(ConfigError, match="the id 'self-select' is a baseline's; rename it"):
        parse_run(values(), registries)


# --- what ships -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_configuration_loads(path):
    content, run = read_yaml(path), load_run(path)
    assert run.config.categories == tuple((content["llm"] or {}).get("prompts", ENTRIES if content["llm"] else ()))
    assert all(run.prompts_of(category) and run.datasets_of(category) for category in run.config.categories)


def test_the_demo_is_a_run_of_small_models_with_a_planted_test():
    run = load_run(ROOT / "config.yaml")
    assert run.config.llm.models == ("smollm2-135m",) and run.config.lm.models == ("minilm-l6",)
    assert run.config.methods == ("labelcov",) and run.config.lm.planted.ladders
    assert [p.number for p in run.prompts_of("sa")] == [1, 3, 5, 7]
    assert run.datasets_of("sa") == ("mini-films", "mini-series")
    assert run.config.note, "a small run says that it is no evidence"


def test_a_run_that_calibrates_says_so():
    for path in SHIPPED:
        content = read_yaml(path)
        if (content["llm"] or {}).get("calibration", "none") != "none":
            assert "calibrated over U, which the paper does not do" in content["note"]


def test_the_paper_run_has_26_prompts_six_datasets_three_llms():
    run = load_run(REGISTRIES / "paper.yaml")
    assert [p.number for p in run.prompts_of("sa")] == [p.number for p in run.prompts_of("nli")] == [*range(1, 14)]
    assert [p.number for p in run.prompts.values() if p.cot] == [11, 12, 13] * 2
    assert run.datasets_of("sa") == ("rotten-tomatoes", "imdb", "sst2")
    assert run.datasets_of("nli") == ("wanli", "cb", "anli")
    assert [run.models[name].title for name in run.config.llm.models] == ["Llama-2 13B", "Llama-2 70B", "Mixtral 8x7B"]
    assert run.models[run.config.surrogate.name].repo == "google-t5/t5-base"


# --- defaults are the paper's ---------------------------------------------------------------------------


def test_defaults_of_the_methods_are_the_papers():
    config = Config.model_validate(values(), context=CONTEXT)
    assert config.methods == ("taskemb", "tupate")
    mte, dte = config.taskemb.mte, config.taskemb.dte
    assert (mte.epochs, mte.learning_rate, mte.batch_size, mte.max_epochs) == (1, 2e-5, 128, None)
    assert (dte.epochs, dte.learning_rate, dte.batch_size, dte.max_epochs) == (3, 2e-5, 32, None)
    assert mte.reduction == dte.reduction == "mean_of_squares" and mte.layers is dte.layers is None
    mte, dte = config.tupate.mte, config.tupate.dte
    assert (mte.epochs, mte.learning_rate, mte.batch_size, mte.max_epochs) == (1, 1e-3, 128, None)
    assert (dte.learning_rate, dte.batch_size, dte.max_epochs, dte.patience) == (1e-2, 32, 120, 4)
    assert (mte.length, dte.length, mte.layers, dte.layers) == (16, 16, None, None)
    for recipe in (config.taskemb.mte, config.taskemb.dte, mte, dte):
        assert (recipe.weight_decay, recipe.warmup, recipe.clip) == (0.01, 0.05, 1.0)
    assert config.taskemb.pairs is config.tupate.pairs is None, "every text counts"


def test_defaults_of_the_experiment_are_the_papers():
    config = Config.model_validate(values(), context=CONTEXT)
    assert len(config.llm.models) == 3
    assert config.llm.prompts == {"sa": "all", "nli": "all"}
    assert sum(len(names) for names in config.llm.datasets.values()) == 6
    assert config.llm.calibration == "none" and config.mte_target == "label"
    assert config.surrogate.name == "t5-base" and config.surrogate.settings.family == "encoder-decoder"
    assert config.data.test_rows is None


def test_the_paper_run_departs_from_the_defaults_of_the_methods_in_one_point():
    stated, default = load_run(REGISTRIES / "paper.yaml").config, Config.model_validate(values(), context=CONTEXT)
    for key in ("methods", "tupate", "mte_target", "seed", "controls", "evaluation"):
        assert getattr(stated, key) == getattr(default, key), key
    assert stated.llm.prompts == default.llm.prompts and stated.llm.calibration == default.llm.calibration
    # full vectors of TaskEmb are as large as the surrogate: row means are kept
    for kind in ("mte", "dte"):
        recipe, papers = getattr(stated.taskemb, kind), getattr(default.taskemb, kind)
        assert recipe == papers.model_copy(update={"reduce": "rows"})


def test_prompts_left_out_of_a_category_mean_all_of_it():
    run = parse_run(values(llm={"prompts": {"sa": [12, 3]}}), REGISTRIES)
    assert [p.number for p in run.prompts_of("sa")] == [3, 12]
    assert len(run.prompts_of("nli")) == 13


def test_a_category_without_datasets_is_no_part_of_a_run():
    run = parse_run(values(unsup={"nli": POOL}, llm={"datasets": {"nli": ["cb"]}}), REGISTRIES)
    assert run.config.categories == ("nli",)
    assert {p.category for p in run.prompts.values()} == {"nli"}


# --- mistakes -------------------------------------------------------------------------------------------

U = {"sa": POOL, "nli": POOL, "lm": POOL}
TUNED = {"model": "smollm2-135m", "prompts": {"sa": [1]}, "datasets": {"sa": ["imdb"]}}
LADDER = {"a": {"boxes": {"rte": {"gpt2/rte": 1, "bert-base/rte": 2}}, "methods": ["taskemb"]}}
RETRIEVAL = {"a": {"model": "bert-base", "datasets": ["boolq", "cb", "copa"]}}


def own_model(**entry: Any) -> dict[str, Any]:
    """A run's registry with one model."""
    return {"registry": {"models": {"s": {"title": "S", **entry}}}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sedd": 1}, "my.yaml: sedd: unknown key; did you mean seed?"),
        ({"llm": {"modles": ["x"]}}, "my.yaml: llm.modles: unknown key; did you mean models?"),
        ({"tupate": {"mte": {"epochs": 1, "batch_size": 8, "lr": 1.0}}}, "my.yaml: tupate.mte.lr: unknown key"),
        (
            {"llm": {"engine": {"engine": "vllm", "beams": 4}}},
            "my.yaml: llm.engine.beams: unknown key; there are answer_tokens, api_key_env",
        ),
        ({"threads": "many"}, "my.yaml: threads: Input should be a valid integer"),
        ({"threads": 0}, "my.yaml: threads: "),
        ({"data": {"dev_share": 1.0}}, "my.yaml: data.dev_share: "),
        ({"methods": ["curvegrad"]}, "my.yaml: methods.0: "),
        ({"methods": "labelcov"}, "my.yaml: methods: must be a list, in brackets"),
        ({"name": "My Run"}, "my.yaml: name: 'My Run' is no id: use lower-case"),
        ({"llm": {"models": ["../x"]}}, "my.yaml: llm.models.0: '../x' is no id"),
        ({"surrogate": {"name": "-x"}}, "my.yaml: surrogate.name: '-x' is no id"),
        ({"labelcov": {"dte": {"labels": "soft"}}}, "my.yaml: labelcov: dte.labels 'soft': labelled rows"),
        ({"labelcov": {"mte": {"max_tokens": 9}}}, "mte.max_tokens and dte.max_tokens differ"),
        (
            {"methods": ["labelcov"], "labelcov": {"encoder": "mini"}},
            "my.yaml: labelcov.encoder: 'mini' is not in config/models.yaml; add",
        ),
        (
            {"tupate": {"dte": {"batch_size": 8, "learning_rate": 1.0, "max_epochs": 5}}},
            "early stopping needs both max_epochs and patience",
        ),
        ({"data": {"dev_share": 0}}, "my.yaml: (top level): tupate.dte stops early"),
        ({"llm": {"models": ["gpt-9"]}}, "my.yaml: llm.models: 'gpt-9' is not in config/models.yaml; "),
        ({"surrogate": {"name": "t6", "settings": {"family": "causal"}}}, "my.yaml: surrogate.name: 't6'"),
        (
            {"llm": {"datasets": {"sa": ["imbd"]}}},
            "my.yaml: llm.datasets.sa: 'imbd' is not in config/datasets.yaml; correct the id, or add an entry",
        ),
        ({"llm": {"datasets": {"sa": ["cb"]}}}, "my.yaml: llm.datasets.sa: 'cb' is of category 'nli'; name it there"),
        (
            {"llm": {"prompts": {"sa": [1, 14]}}},
            "my.yaml: llm.prompts.sa: no prompt 14 in config/prompts/sa.yaml; there are [1, 2, 3",
        ),
        ({"llm": {"baselines": ["mi", "mi"]}}, "my.yaml: llm.baselines: names a baseline twice"),
        (
            {"llm": {"long_texts": "cut", "engine": {"engine": "openai", "base_url": "http://h/v1"}}},
            "my.yaml: llm: long_texts: cut needs the model's tokenizer, which engine openai does not have",
        ),
        (
            {"lm": {"models": ["s"], "transfer": {"model": "s"}}, "unsup": U, **own_model(server=True)},
            "my.yaml: lm.models: 's' is a server, and only models with files are fine-tuned",
        ),
        (
            {"lm": {"models": ["s"], "transfer": {"model": "s"}}, "unsup": U, **own_model(tuned=TUNED)},
            "my.yaml: lm.models: 's' is fine-tuned by the run, for llm.models alone",
        ),
        ({"lm": {"finetune": {"cr": {"epochs": 3, "steps": 5}}}}, "my.yaml: lm.finetune.cr: give either epochs or"),
        ({"lm": {"planted": {"ladders": LADDER, "retrievals": RETRIEVAL}}}, "both name a test 'a'; rename one"),
        (
            {"methods": ["labelcov"], "lm": {"planted": {"ladders": LADDER}}, "unsup": U},
            "lm.planted: a tests 'taskemb', which is not among methods",
        ),
        ({"tupate": {"mte": {"order_seeds": [1, 1]}}}, "my.yaml: tupate.mte: order_seeds [1, 1] repeat one"),
        ({"taskemb": {"mte": {"exclude": ["("]}}}, "my.yaml: taskemb.mte: exclude: '(' is no regular expression"),
        (own_model(repo="a/b", parameters_m=3, active_parameters_m=5), "active_parameters_m is larger than parameters"),
        (
            {"unsup": {"nli": POOL}},
            "my.yaml: unsup: no entry for ['sa'], whose prompts need a U; add one for each",
        ),
    ],
)
def test_a_wrong_value_is_named_with_file_and_key(changes, message):
    assert message in refused(**changes)


def test_every_mistake_is_named_at_once():
    lines = refused(sedd=1, threads="many").splitlines()
    assert sorted(line.split(": ")[1] for line in lines) == ["sedd", "threads"]


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match=r"^my\.yaml: title: Field required$"):
        parse_run({"name": "run", "unsup": {"sa": POOL, "nli": POOL}}, REGISTRIES, "my.yaml")


def test_two_servers_are_refused(registries):
    path = registries / "models.yaml"
    path.write_text(path.read_text() + "\na: {title: A, server: true}\nb: {title: B, server: true}\n")
    with pytest.raises(ConfigError, match=r"llm\.models: \['a', 'b'\] are servers"):
        parse_run(values(llm={"models": ["a", "b"]}), registries)
    assert parse_run(values(llm={"models": ["a"]}), registries).models["a"].server


def test_a_dataset_may_have_a_source_of_its_own():
    data = parse_run(values(data={"source": "hub", "sources": {"cb": "files"}}), REGISTRIES).config.data
    assert (data.source_of("cb"), data.source_of("anli")) == ("files", "hub")
    said = refused(data={"sources": {"cbb": "files"}})
    assert said == "my.yaml: data.sources: 'cbb' is not in config/datasets.yaml; correct the id"
    assert refused(data={"sources": {"cb": "disk"}}).startswith("my.yaml: data.sources.cb: ")


def test_the_papers_run_of_language_models_reads_from_the_hub_what_is_there():
    run = load_run(REGISTRIES / "paper-lm.yaml")
    groups = run.config.lm.datasets
    by_source = {name: run.config.data.source_of(name) for name in (*groups.cr, *groups.qa, *groups.domain)}
    assert len(by_source) == 25
    assert by_source == {name: "hub" if run.datasets[name].hub else "files" for name in by_source}


def test_a_runs_samples_take_the_place_of_files_and_of_nothing_else():
    plain = parse_run(values(), REGISTRIES).datasets
    sampled = parse_run(values(data={"samples": "config/samples.yaml"}), REGISTRIES).datasets
    changed = {name for name in plain if plain[name] != sampled[name]}
    assert changed == set(read_yaml(REGISTRIES / "samples.yaml"))
    for name in changed:
        assert sampled[name].model_dump(exclude={"files"}) == plain[name].model_dump(exclude={"files"})
    assert sampled["anli"].files.splits.train == ("validation",) and plain["anli"].files.splits is None
    # as JSON, too: a default that is written 0 must not become 0.0, or every key would change
    assert sampled["wanli"].model_dump_json(exclude={"files"}) == plain["wanli"].model_dump_json(exclude={"files"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wanly: {files: {folder: x}}", "config/mine.yaml: 'wanly' is not in config/datasets.yaml; correct the id"),
        ("wanli: {files: {folders: x}}", "mine.yaml: wanli: files.folders: unknown key; did you mean folder?"),
        ("wanli: {hub: {repo: a/b}}", "mine.yaml: wanli: hub: unknown key"),
        ("anli: {files: {drop_shared: [premises]}}", "config/mine.yaml: anli: files: files.drop_shared"),
        (None, "mine.yaml: No such file or directory"),
    ],
)
def test_samples_that_do_not_fit_are_refused(registries, text, said):
    if text:
        (registries / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        parse_run(values(data={"samples": "config/mine.yaml"}), registries)
    assert said in str(error.value)


def test_yaml_that_does_not_parse_is_named_with_its_line(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("name: x\nllm: [1\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml: not valid YAML: (.|\n)*line"):
        load_run(path, REGISTRIES)


# --- the model registry ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("m: {title: M}", ": m: (top level): needs exactly one of repo, package, folder, tuned, server: true; "
         "has none"),
        ("m: {title: M, repo: a/b, folder: c}", "has ['repo', 'folder']"),
        ("m: {title: M, folder: c, server: true}", "has ['folder', 'server']"),
        ("m: {title: M, package: p}", "a package source needs the package's version and the model file"),
        ("m: {title: M, repo: a/b, revision: main}", ": m: revision: String should match pattern"),
        ("m: {title: M, repo: a/b, branch: main}", ": m: branch: unknown key"),
        ("Big_Model: {title: M, repo: a/b}", "'Big_Model' is no id"),
    ],
)  # fmt: skip
def test_a_wrong_model_entry_is_named(registries, entry, message):
    assert message in with_model(registries, f"\n{entry}\n")


def test_a_pinned_revision_and_a_server_are_accepted(registries):
    path = registries / "models.yaml"
    path.write_text(
        path.read_text() + f"\na: {{title: A, repo: x/y, revision: {'0a' * 20}}}\nb: {{title: B, server: true}}\n"
    )
    models = parse_run(values(llm={"models": ["a", "b"]}), registries).models
    assert models["a"].settings()["revision"] == "0a" * 20
    assert models["b"].settings()["server"] is True


def test_what_names_weights_leaves_out_title_and_licence():
    models = parse_run(values(), REGISTRIES).models
    llama = models["llama-2-13b"]
    assert llama.settings() == {"repo": llama.repo, "revision": llama.revision, "server": False}


def test_a_file_that_is_missing_outside_the_project_says_where_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^config.yaml: No such file or directory; run this in the project's folder"):
        read_yaml(Path("config.yaml"))
    with pytest.raises(ConfigError, match="No such file or directory; give a file that can be read"):
        read_yaml(tmp_path / "config.yaml")
