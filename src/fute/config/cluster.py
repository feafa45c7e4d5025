"""The section `cluster`: what the site gives to jobs. It changes no result."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fute.config.sections import Id, Section


class ClusterConfig(Section):
    """What the site gives to jobs. These keys change no result, and no job is run again because of them."""

    gpu_memory_gb: float = Field(
        80, gt=0, description="Memory of one GPU in GB (10⁹ bytes). How many GPUs hold a model follows from it."
    )
    gpu_request: Literal["gpus", "gres"] = Field(
        "gpus", description="How SLURM is asked for GPUs: `--gpus=N`, or `--gres=gpu:N` where the site takes only that."
    )
    memory_request: Literal["mem", "none"] = Field(
        "mem",
        description="How SLURM is asked for memory: `--mem=N`, or, where the site refuses that because memory comes "
        "with CPUs or GPUs, not at all (`none`).",
    )
    gpu_model: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_.]+$",
        description="Model of the GPUs in requests, as in `sinfo -o %G`. The executor takes letters, digits, `_` and "
        "`.`; for a name with a hyphen leave it out and choose the nodes by `constraint` in the profile. `null`: any.",
    )
    max_runtime: int | None = Field(
        None,
        ge=15,
        description="Longest time limit that a job may ask for, in minutes. A partition's own limit is read before the "
        "first job and holds besides. Batches and trainings go on from where they stopped. `null`: no limit.",
    )
    tensor_parallel_size: dict[Id, int] = Field(
        {},
        description="GPUs of a label batch of vLLM, by model. One that is not named gets as many as hold its weights. "
        "The engine spreads a model over the GPUs that its job was given, without a cluster those in "
        "`CUDA_VISIBLE_DEVICES`: over a power of two of them that divides its attention heads.",
    )
