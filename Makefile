# Everything that is done here, by name. `make` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP_RUN := $(VENV)/.ready-to-run
STAMP_DEV := $(VENV)/.ready-to-develop

.DEFAULT_GOAL := help
.PHONY: help run demo test check fmt setup lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

run: $(STAMP_RUN) ## Start the whole platform with a demo catalog; Ctrl-C stops it
	@exec $(BIN)/orderwright up --demo

demo: $(STAMP_RUN) ## Place one order and watch every step of it
	@exec $(BIN)/orderwright demo

test: $(STAMP_DEV) ## Run all tests; uses each real server that it finds
	@$(BIN)/pytest

check: $(STAMP_DEV) ## Check format, lint, types and imports
	@$(BIN)/ruff format --check src tests
	@$(BIN)/ruff check src tests
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

fmt: $(STAMP_DEV) ## Format the code
	@$(BIN)/ruff format src tests
	@$(BIN)/ruff check --fix src tests

setup: $(STAMP_DEV) ## Install everything into .venv

lock: $(STAMP_DEV) ## Pin the newest versions that fit together, with their hashes
	@$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --no-header --no-annotate \
		pyproject.toml -o requirements/runtime.txt
	@$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--extra dev -c requirements/runtime.txt pyproject.toml -o requirements/dev.txt

clean: ## Remove what was installed and made here; data in .orderwright stay
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "orderwright needs Python 3.11 or newer; say which: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@echo "Setting up $(VENV) (once) …"
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing; on Debian: apt install python3-venv"; exit 1; }

$(STAMP_RUN): requirements/runtime.txt pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . 2>/dev/null \
		|| $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

$(STAMP_DEV): requirements/dev.txt $(STAMP_RUN)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
