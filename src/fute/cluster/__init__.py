"""Running on a SLURM cluster: what jobs need and cost, bringing data and models first, settings, faults."""
