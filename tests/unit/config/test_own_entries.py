"""The section `registry`: entries of a run's own, whose paths are relative to the file that states them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from support.least_run import POOL, REGISTRIES

from fute.audit.config_and_locks import config_sha256
from fute.config.own_entries import with_folders
from fute.config.run import load_run, parse_run, read_yaml
from fute.config.sections import ConfigError
from fute.plan import Plan

ROOT = Path(__file__).parents[3]
STARS = {"classes": ["1", "2", "3", "4", "5"], "title": "Stars"}
REVIEWS = {"title": "Reviews", "category": "stars", "fields": ["review"], "label_field": "stars",
           "splits": {"train": "reviews"}, "heldout_share": 0.2}  # fmt: skip
PROMPTS = [{"template": "{text} How many stars?"}, {"template": "Rate: {text}", "id": "rate"}]
ENTRIES = {"categories": {"stars": STARS}, "datasets": {"reviews": REVIEWS}, "prompts": {"stars": PROMPTS}}


def values(registry=ENTRIES, **changes):
    run = {"name": "own", "title": "Own", "unsup": {"stars": POOL}, "data": {"source": "builtin"}}
    return (
        run | {"registry": registry, "llm": {"models": ["smollm2-135m"], "datasets": {"stars": ["reviews"]}}} | changes
    )


def write(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def run_of(folder: Path, registry=ENTRIES, **changes):
    return load_run(write(folder / "my.yaml", values(registry, **changes)), REGISTRIES)


def test_a_run_has_entries_of_its_own_beside_those_that_ship(tmp_path):
    run = run_of(tmp_path, ENTRIES | {"models": {"mine": {"folder": "model"}}})
    assert [*run.categories] == ["sa", "nli", "stars"] and run.title_of("stars") == "Stars"
    assert run.config.categories == ("stars",)
    assert [(p.id, p.number, p.segments, p.classes) for p in run.prompts.values()] == [
        ("stars-1", 1, ("text",), ("1", "2", "3", "4", "5")),
        ("rate", 2, ("text",), ("1", "2", "3", "4", "5")),
    ]
    assert run.prompts["rate"].verbalizers["4"] == ("4",)
    assert run.datasets["reviews"].classes == ("1", "2", "3", "4", "5") and "imdb" in run.datasets
    assert Path(run.models["mine"].folder) == tmp_path / "model" and "t5-base" in run.models


def test_prompts_may_lie_in_a_file_of_the_run(tmp_path):
    write(tmp_path / "more/prompts.yaml", PROMPTS)
    assert [*run_of(tmp_path, ENTRIES | {"prompts": {"stars": "more/prompts.yaml"}}).prompts] == ["stars-1", "rate"]
    write(tmp_path / "more/prompts.yaml", {"category": "stars", "prompts": PROMPTS[:1]})
    assert [*run_of(tmp_path, ENTRIES | {"prompts": {"stars": "more/prompts.yaml"}}).prompts] == ["stars-1"]


def test_own_prompts_follow_those_that_ship_for_the_category(tmp_path):
    own = {"prompts": {"sa": [{"template": "{text} Good?"}]}}
    llm = {"models": ["smollm2-135m"], "datasets": {"sa": ["mini-films"]}, "prompts": {"sa": [2, 14]}}
    run = run_of(tmp_path, own, unsup={"sa": POOL}, llm=llm)
    assert [*run.prompts] == ["sa-2", "sa-14"] and run.prompts["sa-14"].template == "{text} Good?"


def test_paths_belong_to_the_file_that_states_them(tmp_path):
    """Snakemake merges configuration files, later ones over earlier ones, and values of the command line over all."""
    datasets = {"reviews": REVIEWS, "others": REVIEWS | {"files": {"folder": "texts"}}}
    first = {"registry": {"models": {"a": {"folder": "m"}, "b": {"folder": "m"}}, "datasets": datasets}}
    second = {"registry": {"models": {"b": {"folder": "n"}, "c": {"folder": "~/x"}},
                           "datasets": {"others": {"files": {"folder": "elsewhere"}}}}}  # fmt: skip
    files = [write(tmp_path / "one/a.yaml", first), write(tmp_path / "two/b.yaml", second)]
    others = REVIEWS | {"files": {"folder": "elsewhere"}}
    models = {"a": {"folder": "m"}, "b": {"folder": "n"}, "c": {"folder": "~/x"}, "d": {"folder": "here"}}
    merged = ENTRIES | {"models": models, "datasets": {"reviews": REVIEWS, "others": others}}
    run = parse_run(values(merged), REGISTRIES, "a.yaml, b.yaml", files)
    assert {name: Path(run.models[name].folder) for name in "abcd"} == {
        "a": tmp_path / "one/m", "b": tmp_path / "two/n", "c": Path("~/x").expanduser(), "d": Path.cwd() / "here",
    }  # fmt: skip
    assert run.folders == {"reviews": tmp_path / "one", "others": tmp_path / "two/elsewhere"}


def data(folder: Path, row: str = "good,4") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reviews.csv").write_text("review,stars\n" + f"{row}\n" * 3)
    return folder


def test_a_csv_is_read_where_it_lies_and_its_place_is_no_part_of_results(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    recipes = []
    for place, folder in (("a", None), ("b", "../data")):
        data(tmp_path / place if folder is None else tmp_path / "data")
        entry = REVIEWS if folder is None else REVIEWS | {"files": {"folder": folder}}
        made = Plan(run_of(tmp_path / place, ENTRIES | {"datasets": {"reviews": entry}}), (), tmp_path)
        (file,) = made.data.source("reviews")["files"]
        assert (file["path"], made.data.source_of("reviews")) == ("reviews.csv", "files")
        recipes.append(made.data.train_recipe("reviews"))
        assert str(tmp_path) not in json.dumps(recipes[-1])
        assert made.data.root_of("reviews") in made.source_folders()
    assert recipes[0] == recipes[1]
    data(tmp_path / "data", "bad,1")
    assert (
        Plan(run_of(tmp_path / "b", ENTRIES | {"datasets": {"reviews": entry}}), (), tmp_path).data.train_recipe(
            "reviews"
        )
        not in recipes
    )


def test_shipped_datasets_stay_where_the_run_says(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    llm = {"models": ["smollm2-135m"], "datasets": {"stars": ["reviews"], "sa": ["mini-films"]}}
    made = Plan(run_of(tmp_path, unsup={"stars": POOL, "sa": POOL}, llm=llm), (), tmp_path)
    assert made.data.source_of("mini-films") == "builtin" and made.data.root_of("mini-films") == made.data.root


def test_a_dataset_of_the_hub_is_read_there(tmp_path):
    (tmp_path / "here").mkdir()
    entry = REVIEWS | {"hub": {"repo": "./snapshot"}}
    run = run_of(tmp_path / "here", ENTRIES | {"datasets": {"reviews": entry}})
    assert Path(run.datasets["reviews"].hub.repo).resolve() == tmp_path / "here/snapshot"
    assert run.datasets["reviews"].hub.is_folder


def test_what_identifies_a_configuration_is_without_paths_and_with_categories(tmp_path):
    hashes = {config_sha256(run_of(tmp_path / place)) for place in ("a", "b")}
    write(tmp_path / "c/prompts.yaml", PROMPTS)
    hashes.add(config_sha256(run_of(tmp_path / "c", ENTRIES | {"prompts": {"stars": "prompts.yaml"}})))
    assert len(hashes) == 1
    for change in ({"metric": "macro_f1"}, {"title": "*"}, {"question": "count the stars"}):
        hashes.add(config_sha256(run_of(tmp_path, ENTRIES | {"categories": {"stars": STARS | change}})))
    assert len(hashes) == 4


def test_a_run_can_be_written_for_another_folder(tmp_path):
    write(tmp_path / "a/prompts.yaml", PROMPTS)
    registry = ENTRIES | {"models": {"mine": {"folder": "model"}}, "prompts": {"stars": "prompts.yaml"}}
    run = run_of(tmp_path / "a", registry)
    moved = run_of(tmp_path / "b/c", with_folders(run.config.registry, run.folders, Path.cwd()))
    assert moved.folders == run.folders and moved.models == run.models and moved.prompts == run.prompts
    assert config_sha256(moved) == config_sha256(run)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": {"t5-base": {"folder": "x"}}}, "registry.models: 't5-base' is also in config/models.yaml"),
        ({"datasets": {"imdb": REVIEWS}}, "registry.datasets: 'imdb' is also in config/datasets.yaml; give yours"),
        ({"categories": {"sa": STARS}}, "registry.categories: 'sa' is also in config/categories.yaml"),
        ({"categories": {"lm": STARS}}, "registry.categories: 'lm' means something else in results; rename it"),
        ({"categories": {"stars": {"classes": ["1"]}}}, "registry.categories: stars: classes: Tuple should have at"),
        ({"categories": {"stars": STARS | {"metrics": "f1"}}}, "stars: metrics: unknown key; did you mean metric?"),
        ({"categories": {}}, "registry.datasets.reviews: there is no category 'stars'"),
        ({"datasets": {"stars": REVIEWS}}, "registry.datasets: 'stars' means something else in results; rename it"),
        (
            {"datasets": {"news.train": REVIEWS}},
            "registry.datasets: 'news.train' means something else in results; rename it",
        ),
        ({"datasets": {"reviews": REVIEWS | {"feilds": []}}}, "registry.datasets.reviews.feilds: unknown key; did you"),
        ({"prompts": {"starz": PROMPTS}}, "there is no category 'starz'; use one of sa, nli, stars"),
        ({"models": {"My Model": {"folder": "x"}}}, "'My Model' is no id"),
        ({"modles": {}}, "my.yaml: registry.modles: unknown key; did you mean models?"),
        ({"prompts": {"stars": "none.yaml"}}, "none.yaml: No such file or directory; give a file of prompts"),
        ({"prompts": {"stars": [{"template": "Stars?"}]}}, "registry.prompts.stars, entry 1 (without id)"),
        ({"prompts": {"stars": [{"template": "{text}", "cott": True}]}}, "registry.prompts.stars.list.0.cott: unknown"),
        ({"prompts": {"stars": []}}, "my.yaml: registry.prompts.stars: must be a list with at least one prompt"),
        ({"prompts": {"stars": [{"template": "{text}", "id": "self-select"}]}}, "is a baseline's; rename it"),
        (
            {"prompts": {"stars": PROMPTS, "sa": [{"template": "{text}", "number": 3}]}},
            "number 3 is also in config/prompts/sa.yaml",
        ),
        (
            {"prompts": {"stars": PROMPTS, "sa": [{"template": "{text}", "id": "sa-4"}]}},
            "id 'sa-4' is also in config/prompts/sa.yaml",
        ),
        ({"prompts": {}}, "my.yaml: category 'stars' has no prompts; give some in registry.prompts.stars"),
        ({"prompts": ["{text}"]}, "my.yaml: registry.prompts: Input should be a valid dictionary"),
    ],
)
def test_entries_that_cannot_be_used_are_refused_by_place(tmp_path, changes, said):
    with pytest.raises(ConfigError) as error:
        run_of(tmp_path, ENTRIES | changes)
    assert (said in str(error.value) and "my.yaml" in str(error.value)) or "none.yaml" in str(error.value)


def test_one_prompt_id_in_two_categories_is_refused(tmp_path):
    own = ENTRIES | {"prompts": {"stars": PROMPTS, "sa": [{"template": "{text}?", "id": "rate"}]}}
    llm = {"models": ["smollm2-135m"], "datasets": {"stars": ["reviews"], "sa": ["mini-films"]}}
    with pytest.raises(ConfigError, match="prompt 'rate' of stars and one of sa have the same id; rename one"):
        run_of(tmp_path, own, llm=llm, unsup={"stars": POOL, "sa": POOL})


def test_the_registry_that_ships_is_not_changed_by_a_run(tmp_path):
    before = read_yaml(REGISTRIES / "categories.yaml")
    run_of(tmp_path)
    assert read_yaml(REGISTRIES / "categories.yaml") == before
    with pytest.raises(ConfigError, match="there is no category 'stars'"):
        parse_run(values({}), REGISTRIES, "my.yaml")


def test_the_example_of_the_docs_is_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs/own-data.md").read_text(encoding="utf8")
    (tmp_path / "run.yaml").write_text(re.search(r"```yaml\n(name: my-reviews\n.*?)```", text, re.DOTALL)[1])
    data(tmp_path)
    made = Plan(load_run(tmp_path / "run.yaml", REGISTRIES), (), tmp_path)
    assert [prompt.cot for prompt in made.run.prompts.values()] == [False, True]
    assert len(made.vector_batches.items) == 3, "a dataset's vector and two prompts'"


def test_the_root_of_the_data_lies_beside_the_file_that_states_it(tmp_path, monkeypatch):
    data = {"source": "files", "root": "texts"}
    assert run_of(tmp_path, data=data).config.data.root == str(tmp_path / "texts")
    monkeypatch.chdir(tmp_path)
    files = [write(tmp_path / "own/my.yaml", values(data=data))]
    given = parse_run(values(data=data | {"root": "elsewhere"}), REGISTRIES, files=files)
    assert given.config.data.root == str(tmp_path / "elsewhere"), "of the command line: relative to the current folder"
    assert parse_run(values(), REGISTRIES, files=files).config.data.root is None
    demo = read_yaml(ROOT / "tests/support/both.yaml")
    assert parse_run(demo | {"data": data}, REGISTRIES).config.data.root == "texts", "no entries of its own"
