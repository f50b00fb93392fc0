# Two words are enough: `make up` starts everything, `make test` proves it. `make` lists the rest.
# The virtual environment in .venv is made on first use, from the locks in requirements/, with their hashes.

VENV := .venv
PY := $(VENV)/bin/python
export PYTHONDONTWRITEBYTECODE :=

# A virtual environment knows its own address; a checkout that was moved needs a new one.
ifneq ($(wildcard $(VENV)/.where),)
ifneq ($(file <$(VENV)/.where),$(CURDIR))
MOVED := moved
endif
endif

.DEFAULT_GOAL := help
.PHONY: help setup up reset test referee integration e2e foreign signatures bench lint type gen gen-check record lock ci moved

help:  ## list these words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.server  ## make .venv with what running needs (make up does it by itself)

up: $(VENV)/.server  ## start the whole mesh here; Ctrl-C ends it
	@exec $(PY) -m services.launcher up

reset: $(VENV)/.server  ## empty the state folder (var/); refuses while the mesh runs
	@$(PY) -m services.launcher reset

test: $(VENV)/.dev  ## run every test
	@$(PY) -m pytest $(ARGS)

referee integration e2e foreign: $(VENV)/.dev  ## run one folder of tests
	@$(PY) -m pytest tests/$@ $(ARGS)

signatures: $(VENV)/.dev  ## compare 100,000 random Hyperliquid signatures with the official SDK's
	@PERPMESH_SIGNATURES=100000 $(PY) -m pytest tests/foreign/test_hyperliquid_signing.py -s --timeout 900 $(ARGS)

bench: $(VENV)/.dev  ## measure every speed claim beside its peer
	@$(PY) -m bench $(ARGS)

lint: $(VENV)/.dev  ## style, the floors, the contract's style
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --quiet . || { echo 'Run: $(VENV)/bin/ruff format .'; exit 1; }
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/buf lint

type: $(VENV)/.dev  ## mypy, strict
	@$(VENV)/bin/mypy

gen: $(VENV)/.dev  ## write gen/ from proto/, and services/settings.txt from the rooms
	@$(PY) -m tools.gen
	@$(PY) -m tools.settings

gen-check: $(VENV)/.dev  ## prove that what is generated is fresh
	@$(PY) -m tools.gen --check
	@$(PY) -m tools.settings --check

record: $(VENV)/.server  ## write the venues' raw frames with their times (ARGS)
	@$(VENV)/bin/perpmesh record $(ARGS)

lock: $(VENV)/.dev  ## choose versions anew and write requirements/
	@tools/lock.sh $(VENV)/bin/uv

ci: $(VENV)/.dev lint type gen-check test  ## what CI runs

$(VENV)/.server: requirements/server.txt pyproject.toml tools/setup.py $(MOVED)
	@tools/setup.sh server

$(VENV)/.dev: requirements/dev.txt pyproject.toml tools/setup.py $(MOVED)
	@tools/setup.sh dev
