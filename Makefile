# Everything that is done here, by name; `make` lists it. A first call sets up .venv, a later one finds it ready.

ARGS ?=
SEEDS ?= 1000

# Of several builds of python3's version the quickest, looked for when .venv is made; PYTHON=… says which instead.
ifeq ($(origin PYTHON), undefined)
PYTHON = $(eval PYTHON := $(shell python3 tools/quickest_python.py 2>/dev/null || echo python3))$(PYTHON)
endif

# What `make chaos` does; without a seed one is drawn.
MINUTES ?= 5
BROKER ?= redis
SEED ?=

VENV := .venv
BIN := $(VENV)/bin
CODE := $(wildcard src tests tools bench chaos)

# Stamps: each is as new as the last time that it was true.
TOOLS := $(VENV)/.tools
RUNNABLE := $(VENV)/.runnable
TESTABLE := $(VENV)/.testable

COMPILE = $(BIN)/uv pip compile -q --python $(BIN)/python --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate

# Leaves in .venv what $(1) and the tools' list say, nothing else, and orderwright itself as it is in src.
# uv does it in seconds; where it does not reach the registry, pip may, because pip knows this machine's mirrors.
define install
	@$(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes requirements/setup.txt $(1) 2>$(VENV)/uv.log \
		|| { echo "uv could not ($(VENV)/uv.log says why); trying pip, which takes longer …"; \
			$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(1); }
	@$(BIN)/uv pip install -q --python $(BIN)/python --offline --no-deps --no-build-isolation --editable .
endef

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo backends backends-stop test simulate ablations chaos bench check fmt setup lock clean

help: ## List what can be done
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-15s%s\n", $$1, $$2 }'

run: $(RUNNABLE) ## Start the whole platform with a demo catalog; Ctrl-C stops it
	@exec $(BIN)/orderwright up --demo

demo: $(RUNNABLE) ## Place one order and watch every step of it
	@exec $(BIN)/orderwright demo

backends: $(TESTABLE) ## Start PostgreSQL, Redis, RabbitMQ and Kafka for tests, as far as this machine can
	@$(BIN)/python -m tools.backends up $(ARGS)

backends-stop: $(TESTABLE) ## Stop them and remove their data
	@$(BIN)/python -m tools.backends down

test: $(TESTABLE) ## Run the tests (some of them: make test ARGS="-k saga"); says which servers took part
	@$(BIN)/pytest $(ARGS)

simulate: $(TESTABLE) ## Live through SEEDS=1000 seeded runs with everything going wrong (ARGS="--seed 47" tells one story)
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

ablations: $(TESTABLE) ## Take each safeguard away in turn, and see how many seeds it takes to miss it
	@$(BIN)/python -m tests.simulation --ablations $(ARGS)

bench: $(TESTABLE) ## Measure complete orders a second beside pgbench's line (ARGS="--shapes postgres+redis")
	@$(BIN)/python -m bench $(ARGS)

chaos: $(TESTABLE) ## Real faults for MINUTES on BROKER (redis, rabbitmq or kafka); SEED=… brings a list of them again
	@$(BIN)/python -m chaos --minutes $(MINUTES) --broker $(BROKER) $(if $(SEED),--seed $(SEED)) $(ARGS)

check: $(TESTABLE) ## Check format, lint, types and imports
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache

fmt: $(TESTABLE) ## Format the code, and mend what the linter can mend
	@$(BIN)/ruff check --fix --exit-zero --quiet $(CODE)
	@$(BIN)/ruff format $(CODE)

setup: $(TESTABLE) ## Install everything into .venv, as run, test and check do when they need it
	@echo "$(VENV) is ready"

lock: $(TOOLS) ## Pin the newest versions that fit together, with their hashes
	@$(COMPILE) --upgrade pyproject.toml --group dev -o requirements/dev.txt
	@$(COMPILE) --upgrade pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
	@$(COMPILE) --upgrade --group setup -c requirements/dev.txt -o requirements/setup.txt

clean: ## Remove what was installed and made here; the data in .orderwright stay
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .schemathesis build dist

$(TOOLS): requirements/setup.txt
	@command -v $(PYTHON) >/dev/null \
		|| { echo "There is no $(PYTHON) here. orderwright needs Python 3.11 or newer: make PYTHON=/path/to/python3 …"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$$($(PYTHON) --version 2>&1) is too old. orderwright needs Python 3.11 or newer: make PYTHON=/path/to/python3 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON) …"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/setup.txt
	@touch $@

# Installing what it takes to run takes away what it takes to test.
$(RUNNABLE): requirements/runtime.txt pyproject.toml $(TOOLS)
	@rm -f $(TESTABLE)
	$(call install,requirements/runtime.txt)
	@touch $@

$(TESTABLE): requirements/dev.txt pyproject.toml $(TOOLS)
	$(call install,requirements/dev.txt)
	@touch $(RUNNABLE) $@
