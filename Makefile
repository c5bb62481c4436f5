# Two commands do all set-up: `make quickstart` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint envs/constraints.txt

.PHONY: help install quickstart test clean

help:
	@echo "make quickstart   real data, no GPU: every table and figure in results/quickstart/"
	@echo "make test         all tests that a machine without GPU can run"
	@echo "make install      only the environment, in .venv"
	@echo "make clean        remove .venv (results and downloads stay)"

install: .venv/installed
.venv/installed: envs/requirements.txt envs/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make $(MAKECMDGOALS) PYTHON=python3.11")'
	@echo "Installing into .venv (a few minutes, once) ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) -r envs/requirements.txt
	@touch $@

.venv/developed: .venv/installed envs/development.txt
	@$(PIP) -r envs/development.txt
	@touch $@

quickstart: .venv/installed
	@$(BIN)/snakemake --configfile config/quickstart.yaml --cores all --quiet host reason
	@echo "Done. Open results/quickstart/report.html; tables and figures lie beside it."

test: .venv/developed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/snakemake --lint
	@$(BIN)/python -m pytest -n 2 --dist loadfile

clean:
	rm -rf .venv
