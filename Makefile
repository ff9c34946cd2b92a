# Verdigrid. `make help` lists what there is.
# Everything is installed below this folder; nothing but system packages (apt, where allowed)
# touches the rest of the machine.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.installed
export VERDIGRID_HOME ?= $(CURDIR)/.verdigrid

.DEFAULT_GOAL := help
.PHONY: help up down status test lint bench peers faults lock lock-peers system clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing; install Python 3.11 (Debian: apt install python3 python3-venv) or name another with make PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "make: no virtual environment could be made; install python3-venv" >&2; exit 1; }
	@echo "Installing the pinned packages (a minute or two the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

up: $(STAMP) ## Install, start the city and show its progress; http://127.0.0.1:8050
	@$(BIN)/verdigrid up

down: ## Stop what `make up` started; the data stays
	@test -x $(BIN)/verdigrid && $(BIN)/verdigrid down || echo "Nothing is installed here yet."

status: $(STAMP) ## Say what runs and how fresh the readings are
	@$(BIN)/verdigrid status

system: ## Install the system packages the tests use, where that is allowed
	@sh .ci/system-packages

# Files side by side, one worker a core; more than four would only wait for each other's disks.
# Files go out in the order of tests/conftest.py: the longest first, not those of most tests.
test: $(STAMP) system ## Run the whole test suite
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
		--no-loadscope-reorder

lint: $(STAMP) ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# PyPSA wants another pandas than the project does, so the peers live apart.
$(PEERS_STAMP): bench/peers.lock
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@echo "Installing the peers (a minute or two the first time) ..."
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bench/peers.lock
	@touch $@

peers: $(PEERS_STAMP) ## Install the programs that `make bench` compares with

bench: $(STAMP) $(PEERS_STAMP) system ## Measure against peers and limits; writes docs/benchmarks.md
	@$(BIN)/python -m bench

faults: $(STAMP) system ## Kill everything 200 times and count what is lost; writes docs/faults.md
	@$(BIN)/python -m bench.faults --kills 200

lock: ## Make requirements.lock anew from pyproject.toml (pins and hashes only)
	@$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python -m pip install --quiet uv
	@$(VENV)-lock/bin/uv pip compile pyproject.toml --extra dev --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --python-version 3.11 --upgrade --quiet --output-file requirements.lock
	@rm -rf $(VENV)-lock
	@! grep -nE '://|^--' requirements.lock

lock-peers: ## Make bench/peers.lock anew from bench/peers.in, with the project's own HiGHS
	@$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python -m pip install --quiet uv
	@grep -oE '^highspy==[^ ]+' requirements.lock | $(VENV)-lock/bin/uv pip compile bench/peers.in \
		--constraints /dev/stdin --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--python-version 3.11 --upgrade --quiet --output-file bench/peers.lock
	@rm -rf $(VENV)-lock
	@! grep -nE '://|^--' bench/peers.lock

clean: ## Remove the virtual environment and caches; the city's data stays
	@rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache artifacts
