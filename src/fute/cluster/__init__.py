"""Run on a SLURM cluster: needs and costs of jobs, fetching of data and models, checks of settings, faults."""
