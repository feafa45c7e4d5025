"""The LLM experiment on SLURM with every step in its image: vLLM and accelerate for real, and no network."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import local_images
from support.checkouts import MODEL, Checkout, save_model, semantic, tiny_checkout
from support.cluster_runs import IN_IMAGES, PROFILES, gpus, record
from support.local_slurm import job_facts

from fute.images.lock import OF_HOST, read_lock

pytestmark = pytest.mark.cluster

TRANSFORMERS = "{engine: transformers, dtype: bfloat16, batch_size: 8, reasoning_tokens: 4}"
TUNED = f"""registry:
  models:
    own:
      tuned: {{model: {MODEL}, prompts: {{sa: [3]}}, datasets: {{sa: [mini-films]}}, layers: 1, steps: 12}}
"""
VLLM = "{engine: vllm, dtype: bfloat16, enforce_eager: true, reasoning_tokens: 4}"


def small(folder: Path, weights: Path) -> Checkout:
    """The LLM experiment on a handful of texts: an LLM, and one that the run fine-tunes from it, both asked by vLLM;
    vectors by two processes."""
    made = tiny_checkout(folder, weights)
    made.edit(made.config, TRANSFORMERS, VLLM)
    made.edit(made.config, "{sa: [1, 3, 7, 9, 12]}", "{sa: [1, 3, 12]}")
    made.edit(made.config, f"models: [{MODEL}]", f"models: [{MODEL}, own]")
    made.edit(made.config, "name: tiny\n", f"name: tiny\n{TUNED}")
    made.edit(made.config, "threads: 1", "threads: 2\nprocesses: 2")
    # as many GPUs as processes; torch sees none of them
    made.edit("tests/cluster/profile/profile.yaml", "embed_batch: {gpu: 1}", "embed_batch: {gpu: 2}")
    return made


def test_on_slurm_in_images_it_gives_what_a_plain_run_gives(site, cluster, send, tmp_path):
    """The same bytes: labels, log-scores and vectors too, since machine and package versions are the same."""
    print("\nthe LLM experiment on SLURM in images without a network", flush=True)
    weights = save_model("smollm2", tmp_path / MODEL)
    inside = small(tmp_path / "cluster", weights)
    local_images.use_images(inside, site)
    # vLLM's CPU build compiles when it starts; compilers that the host's modules name are not in the image
    inside.variables |= {name: f"/apps/{name}" for name in OF_HOST}
    controller = send(inside, *IN_IMAGES)
    said = controller.finish(900)
    facts = [job_facts(job) for job in controller.jobs()]
    assert {fact["JobState"] for fact in facts} == {"COMPLETED"}, said[-3000:]
    asked = {
        rule: gpus(fact)
        for fact in facts
        for rule in ("tune_llm", "label_batch", "embed_batch")
        if rule in fact["Comment"]
    }
    assert asked == {"tune_llm": 1, "label_batch": 1, "embed_batch": 2}
    images = {name: entry.sha256 for name, entry in read_lock(site / "containers").images.items()}
    (labels,) = (inside / "results/labels/own/batches").glob("*.jsonl.gz")
    vectors = next((inside / "results/embeddings").rglob("batches/*.zip"))
    for path, image in ((labels, "labels"), (vectors, "train"), (inside / "results/paper/tables/table3.csv", "paper")):
        assert record(inside, path.relative_to(inside.folder).as_posix())["image"] == images[image]
    print("\nthe same on this machine as it is", flush=True)
    plain = small(tmp_path / "plain", weights)
    plain.run()
    found, expected = semantic(inside), semantic(plain)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert inside.planned() == {} and inside.planned(*IN_IMAGES) == {} and inside.planned(*PROFILES) == {}
