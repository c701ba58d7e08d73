# Everything starts here: `make up` to run it, `make test` to check it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# twice as many as cores, since the longest tests wait for Dagster's own intervals
WORKERS ?= 4
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: up demo test check lint fmt bench chaos clean install install-dev help

help:              ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: install        ## Start everything, import and analyse the sample data, show live bars, stay up until Ctrl-C.
	@exec $(BIN)/tickstock up --live

demo: install      ## The same, and stop when the job is done.
	@exec $(BIN)/tickstock up --once

# one test at a time to whoever is free: the longest, which come first, are shared out evenly
test: install-dev check   ## Lint, types, layers, and all tests against real services.
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist load --maxschedchunk 1 --cov --cov-report=term

check: install-dev ## Lint, types and layers only.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

lint: check        ## The same as check.

fmt: install-dev   ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install     ## Measure; figures go to docs/performance.md.
	$(BIN)/python -m benchmarks

chaos: install-dev ## Kill everything at random for ten minutes, and prove that nothing was lost.
	$(BIN)/python -m chaos

clean:             ## Remove the virtual environment and caches; the data in .tickstock stay.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* *.egg-info

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, and %s is %s. Name another one: make PYTHON=python3.12 ..." % (sys.executable, sys.version.split()[0]))'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is needed (Debian: apt install python3-venv)."; exit 1; }

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (about a minute) ..."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing the development tools ..."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
