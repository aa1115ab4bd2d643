# Headwater: every task of the project. `make` or `make help` explains them.
#
# `make run` and `make test` need nothing but make and a Python >= 3.11 with venv: the first of them creates .venv and
# installs into it exactly what uv.lock names, hashes checked.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test real check format bench proof docs record clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete

# A Python that is new enough and can make a virtual environment; `make PYTHON=/path/to/python3.12 run` chooses another.
NEW_ENOUGH := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$candidate" -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo "$$candidate" && break; done)

PYTEST := $(BIN)/pytest
export UV_PYTHON_DOWNLOADS := never
unexport VIRTUAL_ENV
unexport UV_PROJECT_ENVIRONMENT

help: ## Show this list.
	@echo "Headwater. The two commands to begin with are 'make run' and 'make test'."; echo
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: $(STAMP) ## Run the demo: a wiki of rivers, edits that flow through it, a page at http://127.0.0.1:8900/. Ctrl-C ends it.
	@$(BIN)/headwater demo $(DEMO)

test: $(STAMP) ## Run every test that this machine can run; say which were left out and why.
	@$(PYTEST) $(TESTS)

real: ## Install the real components that some tests run against (apt: MediaWiki, PHP, Varnish). Needs root or sudo.
	@.ci/real

check: $(STAMP) ## Format, lint, types, import rules, house rules. Changes nothing.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -q tests/house

format: $(STAMP) ## Format the code and repair what the linter can repair.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## Run the benchmarks; prints a table and writes build/bench.json.
	@$(BIN)/python -m benchmarks $(BENCH)

proof: $(STAMP) ## Run the long grids (1,000 kills, all pages). Hours.
	@HEADWATER_PROOF=1 $(PYTEST) -m proof --timeout=0 $(TESTS)

docs: $(STAMP) ## Write the reference pages that are made from the code.
	@$(BIN)/python -m headwater.cli.reference docs/reference

record: $(STAMP) ## Record answers of a real MediaWiki for the tests (needs 'make real').
	@$(BIN)/python -m tests.real.record

clean: ## Remove what the other commands made: the environment, caches, build results. Never a data directory.
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(STAMP): uv.lock pyproject.toml requirements-bootstrap.txt
	@if ! { $(BIN)/uv --version && $(BIN)/python -c '$(NEW_ENOUGH)'; } >/dev/null 2>&1; then \
		if [ -z "$(PYTHON)" ]; then \
			echo "make: no Python >= 3.11 with venv and ensurepip was found (on Debian: apt-get install python3-venv)." >&2; \
			echo "      'make PYTHON=/path/to/python3.12 …' names one." >&2; exit 1; \
		fi; \
		if ! "$(PYTHON)" -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then \
			echo "make: $(PYTHON) is no Python >= 3.11 with venv and ensurepip." >&2; exit 1; \
		fi; \
		echo "Making $(VENV) with $$("$(PYTHON)" --version); only the first time." >&2; \
		"$(PYTHON)" -m venv --clear $(VENV); \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-bootstrap.txt; \
	fi
	@echo "Installing into $(VENV) what uv.lock names." >&2
	@$(BIN)/uv sync --quiet --frozen --all-groups --python $(BIN)/python
	@touch $@
