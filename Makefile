# What people and CI run. `make` alone lists it.
# Needs GNU make and Python 3.11 or newer; the Kafka tier of the tests also wants Java 17+ with Maven (docs/hacking.md).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.installed
PYTHON ?= python3
PIP := $(PY) -m pip install --quiet --disable-pip-version-check

# The parts that exist: mypy and ruff are given folders, not a pattern.
CODE := $(patsubst %/__init__.py,%,$(wildcard guardian/__init__.py streams/__init__.py demo/__init__.py bench/__init__.py tests/__init__.py))

# A file's tests stay together, as they share brokers; the longest files come first. One worker more than there are processors:
# many tests wait for other processes.
SIDE_BY_SIDE := -n $(shell $(PYTHON) -c 'import os; print(min((os.cpu_count() or 1) + 1, 5))') --dist loadfile --no-loadscope-reorder

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
  --allow-unsafe --no-annotate --custom-compile-command 'make lock'

# Its tools come with an environment of their own, from their own lock.
AUDIT = $(PY) -m uv run --quiet --isolated --no-project --with-requirements requirements-audit.lock

.PHONY: help setup lock test test-long lint sbom audit demo bench calibrate clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## the environment in .venv, from the lock file; free when nothing changed

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Rollout Guardian needs Python 3.11 or newer; '$(PYTHON)' is $$({ $(PYTHON) --version || echo 'not there'; } 2>/dev/null)." >&2; \
	  echo "Install one, or name it: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(PY) || { echo "Making $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing the locked packages into $(VENV)"
	@$(PIP) --require-hashes -r <(awk '/^[^ ]/ {on = /^uv==/} on' requirements.lock)
	@$(PY) -m uv pip install --quiet --compile-bytecode --python $(PY) --require-hashes -r requirements.lock || { \
	  echo "uv could not (an index that only pip knows?); pip takes a minute longer."; $(PIP) --require-hashes -r requirements.lock; }
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## pin the newest versions that pyproject.toml allows (needs the network)
	$(PY) -m uv pip compile pyproject.toml --upgrade $(LOCK) --all-extras -o requirements.lock
	$(PY) -m uv pip compile pyproject.toml $(LOCK) --extra apprise --extra build --extra demo --extra instrument -c requirements.lock -o requirements-run.lock
	$(PY) -m uv pip compile requirements-audit.in --upgrade $(LOCK) -o requirements-audit.lock

test: setup ## every test tier that this machine can run
	$(PY) -m pytest $(SIDE_BY_SIDE)

test-long: setup ## the long simulations, crash and fault runs
	$(PY) -m pytest -m long --ignore tests/simulation
	$(PY) -m pytest -m long -n auto --dist load -rP tests/simulation

lint: setup ## style, types, and the arrows between modules
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy $(CODE)
	$(VENV)/bin/lint-imports

sbom: setup ## what an installation is made of, as CycloneDX: build/sbom.json, from requirements-run.lock
	@mkdir -p build
	$(AUDIT) cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of JSON -o build/sbom.json requirements-run.lock

audit: setup ## known holes in the locked packages; needs the network
	$(AUDIT) pip-audit --strict --require-hashes --disable-pip -r requirements-run.lock

demo: setup ## a shop ships a bug to 10 % of its users; DEMO_SECONDS=n ends it by itself
	$(PY) -m demo

bench: setup ## ours, the limit and the peers, measured in one run each
	for what in observe judge engine replay kill accounts verdicts gauntlet; do $(PY) -m bench $$what; done

calibrate: setup ## false kills and detection delays against what the statistics promise
	$(PY) -m pytest tests/calibration -m 'long or not long'

clean: ## remove the environment and what tools left behind
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
