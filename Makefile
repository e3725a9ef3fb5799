# Everything from a bare Python 3.11 or newer: `make demo` and `make test` set up what they need in .venv, once.

VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.stammgast-installed
LOCKING := $(VENV)-lock
PEERS   := $(VENV)-peers
MUTANTS := $(VENV)-mutants
AUDIT   := $(VENV)-audit
PIP     := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(BIN)/python -m pip install --quiet

# The first Python that is new enough; `make PYTHON=/path/to/python3.12 ...` overrides.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

# Arguments for the verbs behind the targets
DEMO_ARGS     ?=
BENCH_ARGS    ?=
SIMULATION_ARGS ?= --schedules 2000
CHAOS_ARGS    ?=
PROPERTIES_ARGS ?=
MUTANTS_ARGS  ?=
TEST_ARGS     ?=
# A run of tests that takes longer is ended, with everything it started
TEST_MINUTES      ?= 75
TEST_FULL_MINUTES ?= 360
ONLINE_RETAIL ?=

.DEFAULT_GOAL := help
.PHONY: help install compile demo test test-full chaos lint format types simulation properties mutants bench bench-peers audit sbom docs lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  DEMO_ARGS="--exit --db FILE"  TEST_ARGS="tests/unit -k refund"  BENCH_ARGS="--json"  CHAOS_ARGS="--minutes 10"  ONLINE_RETAIL=PATH'

install: $(STAMP) ## set up .venv with everything, hashes checked
	@echo "Ready: $(BIN)/stammgast --help"

compile: $(STAMP) ## compile the core with a C compiler, once per change: same results, faster; nothing needs it
	@$(BIN)/stammgast compile

demo: $(STAMP) ## run both demo shops through an embedded Kafka broker into DuckDB
	@$(BIN)/stammgast demo $(DEMO_ARGS)

test: $(STAMP) ## every test this machine can run; skipped ones are listed with the reason
	@$(BIN)/python -m tests.bounded --minutes $(TEST_MINUTES) -- $(BIN)/python -m pytest $(TEST_ARGS)

test-full: $(STAMP) ## the same with the long tests; ONLINE_RETAIL=PATH adds the whole till export
	@STAMMGAST_TEST_FULL=1 STAMMGAST_PROPERTIES=deep STAMMGAST_ONLINE_RETAIL="$(abspath $(ONLINE_RETAIL))" \
		$(BIN)/python -m tests.bounded --minutes $(TEST_FULL_MINUTES) -- $(BIN)/python -m pytest $(TEST_ARGS)

chaos: $(STAMP) ## kill, freeze and cut off everything on a real Kafka, then recompute all of it (docs/chaos.md)
	@$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(STAMP) ## let ruff format and mend what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

simulation: $(STAMP) ## crash schedules on a simulated broker and clock; SIMULATION_ARGS="--schedules 10000 --seed 1"
	@$(BIN)/python -m tests.simulation $(SIMULATION_ARGS)

properties: $(STAMP) ## engine and naive model over random histories; PROPERTIES_ARGS="--steps 1000000 --seed 1"
	@$(BIN)/python -m tests.properties $(PROPERTIES_ARGS)

mutants: $(MUTANTS)/.installed ## change the core one thing at a time: does a test mind? MUTANTS_ARGS="--sample 600 --seed 1" estimates it
	@STAMMGAST_COMPILED=0 $(MUTANTS)/bin/python -m tests.mutants $(MUTANTS_ARGS)

bench: $(STAMP) ## measure this machine, core compiled where possible, with bare Kafka and idiomatic Faust beside it
	@$(BIN)/stammgast compile >&2 || true
	@$(BIN)/stammgast bench $(BENCH_ARGS)

bench-peers: $(STAMP) $(PEERS)/quix/.installed $(PEERS)/bytewax/.installed ## the same core in Quix Streams and Bytewax, beside the worker
	@$(BIN)/stammgast bench --only peers $(BENCH_ARGS)

audit: $(AUDIT)/.installed ## hold every locked package against the public lists of known weaknesses (asks the network)
	@$(AUDIT)/bin/pip-audit --requirement requirements.lock --disable-pip --strict --progress-spinner off

sbom: $(AUDIT)/.installed ## write sbom.json: what we are made of, CycloneDX
	@$(AUDIT)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file sbom.json requirements.lock
	@echo "sbom.json: $$(grep -c '"purl"' sbom.json) packages"

docs: $(STAMP) ## refresh the generated parts of README.md
	@$(BIN)/stammgast docs README.md

lock: pyproject.toml ## renew requirements.lock: hashes, no index addresses
	@$(PYTHON) -m venv $(LOCKING) && $(LOCKING)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(LOCKING)/bin/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 --all-extras \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --output-file requirements.lock
	@for peer in quix bytewax; do $(LOCKING)/bin/uv pip compile peers/$$peer.in --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --output-file peers/$$peer.lock || exit 1; done
	@$(LOCKING)/bin/uv pip compile tests/mutants.in --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --output-file tests/mutants.lock
	@$(LOCKING)/bin/uv pip compile tests/audit.in --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --output-file tests/audit.lock
	@rm -rf $(LOCKING)

$(PEERS)/%/.installed: peers/%.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: say make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Setting up $(PEERS)/$* with $(PYTHON), once ..."
	@test -x $(PEERS)/$*/bin/python || $(PYTHON) -m venv $(PEERS)/$* || { rm -rf $(PEERS)/$*; exit 2; }
	@PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(PEERS)/$*/bin/python -m pip install --quiet \
		--require-hashes --requirement $<
	@touch $@

# Faust wants an older click than mutmut: an environment of its own, which finds what the house needs behind its own packages.
$(MUTANTS)/.installed: tests/mutants.lock $(STAMP)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: say make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Setting up $(MUTANTS) with $(PYTHON), once ..."
	@test -x $(MUTANTS)/bin/python || $(PYTHON) -m venv $(MUTANTS) || { rm -rf $(MUTANTS); exit 2; }
	@PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(MUTANTS)/bin/python -m pip install --quiet \
		--require-hashes --requirement tests/mutants.lock
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> $$($(MUTANTS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/stammgast.pth
	@touch $@

$(AUDIT)/.installed: tests/audit.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: say make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Setting up $(AUDIT) with $(PYTHON), once ..."
	@test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT) || { rm -rf $(AUDIT); exit 2; }
	@PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(AUDIT)/bin/python -m pip install --quiet \
		--require-hashes --requirement tests/audit.lock
	@touch $@

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and none was found: install it, or say make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Setting up $(VENV) with $(PYTHON), once (about a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "No venv could be made: on Debian and Ubuntu install python3-venv." >&2; exit 2; }
	@$(PIP) --require-hashes --requirement requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
