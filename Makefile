# Two commands do all set-up: `make quickstart` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint envs/constraints.txt
# Two workers, a file to each in turn, in the order that tests/conftest.py gives.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# What editors check studies by.
SCHEMA := workflow/schemas/config.schema.json
TORCH_PIN := $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' envs/requirements.txt)

.PHONY: help install quickstart rehearsal test test-fast test-slurm torture lint clean

help:
	@echo "make quickstart   real data, no GPU: every table and figure in results/quickstart/"
	@echo "make rehearsal    the paper's study with tiny models and made-up data, under an hour"
	@echo "make test         all tests that a machine without GPU can run"
	@echo "make test-fast    the quick ones, for the work between commits"
	@echo "make test-slurm   a part of the smoke study through Slurm, here (needs slurm-wlm and munge)"
	@echo "make torture      a small study killed sixty times, compared with one left alone (15 minutes)"
	@echo "make lint         style of Python and rules"
	@echo "make install      only the environment, in .venv"
	@echo "make clean        remove .venv (results and downloads stay)"
	@echo "TORCH=cpu behind any of them installs the small CPU build of torch"

install: .venv/installed $(SCHEMA)
.venv/installed: envs/requirements.txt envs/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make $(MAKECMDGOALS) PYTHON=python3.11")'
	@echo "Installing into .venv (a few minutes, once) ..."
	@$(PYTHON) -m venv .venv
ifeq ($(TORCH),cpu)
	@# uv knows where the CPU build lies; pip then finds torch in place.
	@$(PIP) uv==0.13.9
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend cpu $(TORCH_PIN)
endif
	@$(PIP) -r envs/requirements.txt
	@touch $@

$(SCHEMA): .venv/installed scripts/study/schema.py $(wildcard scripts/*/settings.py)
	@$(BIN)/python -m scripts.study.document --schema $@

.venv/developed: .venv/installed envs/development.txt
	@$(PIP) -r envs/development.txt
	@touch $@

quickstart: install
	@$(BIN)/snakemake --configfile config/quickstart.yaml --cores all
	@cat results/quickstart/summary.txt
	@echo "Done. Open results/quickstart/report.html; tables and figures lie beside it."

rehearsal: install
	@$(BIN)/python -m tests.rehearsal

lint: .venv/developed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/snakemake --lint

test: lint
	@$(PYTEST)

test-fast: .venv/developed
	@$(PYTEST) -m "not slow"

test-slurm: .venv/developed
	@$(PIP) -r envs/slurm.txt
	@tests/slurm.sh

torture: .venv/developed
	@$(BIN)/python -m tests.torture --folder torture

clean:
	rm -rf .venv
