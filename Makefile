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
.PHONY: moved $(shell sed -n 's/^\([a-z][a-z -]*\):.*\#\# .*/\1/p' $(firstword $(MAKEFILE_LIST)))

help:  ## list these words
	@awk -F ':.*## ' '/^[a-z -]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.server  ## make .venv with what running needs (make up does it by itself)

up: $(VENV)/.server  ## start the whole mesh here; Ctrl-C ends it (SCALE=2: two replicas of each room)
	@$(if $(SCALE),PERPMESH_SCALE=$(SCALE)) exec $(PY) -m services.launcher up

demo: $(VENV)/.server  ## trade at both simulated venues with a throwaway wallet, on a mesh of its own where none runs
	@$(VENV)/bin/perpmesh demo $(ARGS)

roll: $(VENV)/.server  ## restart every room of the running mesh, one replica after another
	@$(PY) -m services.launcher roll

reset: $(VENV)/.server  ## empty the state folder (var/); refuses while the mesh runs
	@$(PY) -m services.launcher reset

backup restore: $(VENV)/.server  ## save the database to FILE=..., or put it back (mesh stopped)
	@test -n "$(FILE)" || { echo 'Name the file: make $@ FILE=perpmesh.backup'; exit 1; }
	@$(PY) -m services.launcher $@ $(FILE)

test: $(VENV)/.dev  ## run every test: three files at a time, for most of them wait, and those that count on the machine alone after
	@status=0; $(PY) -m pytest -n 3 -m 'not alone' $(ARGS) || status=$$?; \
	$(PY) -m pytest -m alone $(ARGS) || { code=$$?; [ $$code = 5 ] || status=$$code; }; exit $$status

referee integration e2e foreign: $(VENV)/.dev  ## run one folder of tests
	@$(PY) -m pytest tests/$@ $(ARGS)

restarts: $(VENV)/.dev  ## kill and restart every replica under 200 calls/s and 200 streams
	@LOAD_CALLS_PER_S=200 LOAD_STREAMS=200 LOAD_SILENCE_MAX_S=2 $(PY) -m pytest tests/e2e/test_replicas.py -s --timeout 600 $(ARGS)

openapi-check: $(VENV)/.dev  ## ask every REST call what the served OpenAPI promises, for two minutes
	@OPENAPI_SECONDS=120 $(PY) -m pytest tests/foreign/test_openapi.py -s --timeout 400 $(ARGS)

signatures: $(VENV)/.dev  ## compare 100,000 random Hyperliquid signatures with the official SDK's
	@PERPMESH_SIGNATURES=100000 $(PY) -m pytest tests/foreign/test_hyperliquid_signing.py -s --timeout 900 $(ARGS)

vault-crashes: $(VENV)/.dev  ## kill -9 at every step of Sign and ReportOutcome
	@PERPMESH_CRASH_STEPS=all $(PY) -m pytest tests/integration/vault/test_vault_crash.py -s $(ARGS)

crash: $(VENV)/.dev  ## kill -9 of execution at steps of every story of an order: PERPMESH_CRASH_STEPS=2000 spread ones, or all, which takes hours
	@PERPMESH_CRASH_STEPS=$${PERPMESH_CRASH_STEPS:-all} $(PY) -m pytest tests/integration/execution/test_execution_crash.py -s $(ARGS)

crash-places: $(VENV)/.dev  ## kill -9 of execution once at every place in the code that the stories come to
	@PERPMESH_CRASH_STEPS=places $(PY) -m pytest tests/integration/execution/test_execution_crash.py -s $(ARGS)

planted: $(VENV)/.dev  ## plant known mistakes one at a time; the standing tests must find each (ARGS: part of a name)
	@$(PY) -m tests.planted $(ARGS)

mutation: $(VENV)/.dev  ## make every small change of the order table and the retry rules; unit tests must kill 90 in 100
	@$(PY) -m tools.mutation $(ARGS)

stale: $(VENV)/.dev  ## stop a room at 100 steps of an order at each venue, let another take over, and wake it
	@PERPMESH_STALE_STEPS=100 $(PY) -m pytest tests/integration/execution/test_stale_worker.py -s $(ARGS)

simulation: $(VENV)/.dev  ## play 100,000 seeds (SEEDS=) of faults against execution on a virtual clock, over all cores
	@$(PY) -m tests.simulation --count $(or $(SEEDS),100000) $(ARGS)

vault-nonces: $(VENV)/.dev  ## 10,000 signatures at once per venue, and with rate limits; a vault stopped past its lease 1,000 times
	@PERPMESH_VAULT_SIGNS=10000 PERPMESH_VAULT_STOPS=1000 PERPMESH_VAULT_LIMITED=hyperliquid=10000,lighter=80,lighter.premium=10000 \
		$(PY) -m pytest tests/integration/vault/test_vault_nonces.py tests/integration/vault/test_vault_budgets.py -s $(ARGS)

budgets: $(VENV)/.dev  ## 10,000 mixed actions beside the venues' own counts, and 1,000 refusals a venue taught and sent again
	@PERPMESH_ACTIONS=10000 PERPMESH_REFUSALS=1000 $(PY) -m pytest tests/referee/venue_trading/test_budgets.py \
	  tests/referee/venue_trading/test_random_refusals.py -s $(ARGS)

oracles: $(VENV)/.dev  ## the router against brute force, HiGHS and dynamic programming, every instance
	@PERPMESH_WHOLE=1 $(PY) -m pytest tests/unit/routing -s --timeout 3600 $(ARGS)

cancels: $(VENV)/.dev  ## cancel a million operations of two users; no byte of one may reach the other
	@PERPMESH_CANCELS=1000000 $(PY) -m pytest tests/integration/chassis/test_canceled_operations.py -s $(ARGS)

soak: $(VENV)/.dev  ## 1,000 price streams and 200 orders/s for ten minutes, then three times as many orders
	@SOAK_ORDERS_PER_S=200 SOAK_STREAMS=1000 SOAK_SECONDS=600 SOAK_OVER_SECONDS=60 SOAK_TRADERS=10 \
		$(PY) -m pytest tests/e2e/test_soak.py -s --timeout 1800 $(ARGS)

bench: $(VENV)/.dev  ## measure every speed claim beside its peer
	@$(PY) -m bench $(ARGS)

lint: $(VENV)/.dev  ## style, the floors, the contract's style
	@status=0; \
	$(VENV)/bin/ruff check . || status=1; \
	$(VENV)/bin/ruff format --check --quiet . || { status=1; echo 'Run: $(VENV)/bin/ruff format .'; }; \
	$(VENV)/bin/lint-imports || status=1; \
	$(VENV)/bin/buf lint || status=1; \
	$(VENV)/bin/buf format --exit-code --path proto/perpmesh . >/dev/null || { status=1; echo 'Run: buf format -w --path proto/perpmesh .'; }; \
	$(VENV)/bin/buf build -o $(VENV)/contract.binpb && \
	$(VENV)/bin/buf breaking $(VENV)/contract.binpb --against proto/baseline.binpb || status=1; \
	exit $$status

type: $(VENV)/.dev  ## mypy, strict
	@$(VENV)/bin/mypy

gen: $(VENV)/.dev  ## write gen/ from proto/, and services/settings.txt from the rooms
	@$(PY) -m tools.gen
	@$(PY) -m tools.settings
	@$(PY) -m tools.reference

gen-check: $(VENV)/.dev  ## prove that what is generated is fresh; gen/ts and the page where there is Node
	@$(PY) -m tools.gen --check
	@$(PY) -m tools.settings --check
	@$(PY) -m tools.reference --check
	@$(PY) -m tools.gen_ts --check --check-web || [ $$? -eq 77 ]  # 77: there is no Node, which it says

venue-check: $(VENV)/.server  ## compare the venues' live payloads with the shapes we parse (PERPMESH_VENUES=testnet, ARGS)
	@$(PY) -m tools.venue_check $(ARGS)

record: $(VENV)/.server  ## write the venues' raw frames with their times (ARGS)
	@$(VENV)/bin/perpmesh record $(ARGS)

judges: $(VENV)/judges/.made  ## let Kubernetes', Compose's and Grafana's own readers judge deploy/
	@$(PY) -m pytest tests/foreign/test_judges.py $(ARGS)

outage: $(VENV)/.dev  ## PostgreSQL stopped for a minute under a live feed, then killed; history must be whole
	@PERPMESH_OUTAGE_S=60 $(PY) -m pytest tests/e2e/test_history.py -k postgres_away -s --timeout 300 $(ARGS)

timescale: $(VENV)/.dev  ## history on a TimescaleDB, compiled to WebAssembly; needs Node
	@PERPMESH_TIMESCALE=1 $(PY) -m pytest tests/integration/market_data/test_timescale.py -s $(ARGS)

lock: $(VENV)/.dev  ## choose versions anew and write requirements/
	@tools/lock.sh $(VENV)/bin/uv

ci: $(VENV)/.dev lint type gen-check test  ## what CI runs

$(VENV)/.server: requirements/server.txt pyproject.toml tools/setup.py $(MOVED)
	@tools/setup.sh server

$(VENV)/.dev: requirements/dev.txt pyproject.toml tools/setup.py $(MOVED)
	@tools/setup.sh dev

$(VENV)/judges/.made: requirements/judges.txt | $(VENV)/.dev
	@$(VENV)/bin/uv venv --quiet --clear $(VENV)/judges
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)/judges/bin/python --require-hashes --no-deps -r requirements/judges.txt
	@touch $@
