# Every target sets up what it needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Files run at once, not tests, because those of a file share a coordinator.
PROCESSES ?= 3
AT_ONCE = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo test features test-slow replicas-test chaos recoveries endurance trace-test check docs bench bench-quick bench-peers bench-against proto mutants clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  %-14s %s\n", $$1, $$2}'

$(READY): pyproject.toml
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) >/dev/null || { \
		: "Debian keeps ensurepip in a package of its own; the system's pip can bring one"; \
		$(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

setup: $(READY) ## make the virtual environment .venv with everything in it

demo: $(READY) ## audit this machine's Python packages, durably, with a worker killed half-way
	@$(BIN)/holdfast demo

test: $(READY) ## run all tests but the slow ones, three files at once; PROCESSES=<n> is another number
	@$(BIN)/python -m pytest $(AT_ONCE)

features: $(READY) ## what users find, row by row, with the tests that show it and what comes of them; PROCESSES=<n> too
	@$(BIN)/python -m pytest $(AT_ONCE) -q -m feature -p tests.support.feature_rows

test-slow: $(READY) ## run the slow tests: a bench of every case, minutes of chaos and of load; PROCESSES=<n> too
	@$(BIN)/python -m pytest -m slow $(AT_ONCE)

replicas-test: $(READY) ## run the end-to-end tests with three replicas, once with the doorbell cut; PROCESSES=<n> too
	@HOLDFAST_TEST_REPLICAS=3 $(BIN)/python -m pytest $(AT_ONCE) tests/e2e
	@HOLDFAST_TEST_REPLICAS=3 HOLDFAST_DOORBELL=off $(BIN)/python -m pytest $(AT_ONCE) tests/e2e

chaos: $(READY) ## run random programs under random faults: SEED=<n> MINUTES=<n>, both optional
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

recoveries: $(READY) ## kill workers, coordinators and Postgres, and time what follows: KILLS=<n>, of each
	@$(BIN)/python -m tests.chaos.recoveries $(if $(KILLS),--kills $(KILLS))

endurance: $(READY) ## load for an hour, and what grows under it: MINUTES=<n> RUNS=<n>, both optional
	@$(BIN)/python -m tests.chaos.endurance $(if $(MINUTES),--minutes $(MINUTES)) $(if $(RUNS),--runs $(RUNS))

trace-test: $(READY) ## build Jaeger with Go and ask it what it shows of our traces
	@jaeger=$$($(BIN)/python -m tests.jaeger.build) && \
		if [ -n "$$jaeger" ]; then HOLDFAST_JAEGER="$$jaeger" $(BIN)/python -m pytest tests/jaeger; fi

check: $(READY) ## lint, types, import contracts, protos, generated code and the site of the documentation
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@cd proto && ../$(BIN)/buf lint
	@$(BIN)/python proto/generate.py --check
	@$(MAKE) --no-print-directory docs

docs: $(READY) ## build the site of the documentation below .cache/site; a broken link or anchor is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml

bench: $(READY) ## measure every case and the limits of this machine
	@$(BIN)/python -m benchmarks

bench-quick: $(READY) ## the same in under two minutes
	@$(BIN)/python -m benchmarks --quick

bench-peers: $(READY) ## the same work on Restate and DBOS, side by side: PEER=<name>, optional
	@$(BIN)/python -m benchmarks.peers $(if $(PEER),--peer $(PEER))

bench-against: $(READY) ## B1, B2 and B4 beside another revision, REV=<commit>: what a change costs
	@checkout=.cache/against-$$$$; git worktree add --quiet --detach $$checkout $(REV) && { \
		$(BIN)/python -m benchmarks.against $$checkout; status=$$?; \
		git worktree remove --force $$checkout; exit $$status; }

proto: $(READY) ## generate the Python code of the protos
	@$(BIN)/python proto/generate.py

mutants: $(READY) ## apply each deliberate defect and see a test fail
	@$(BIN)/python -m tests.mutants

clean: ## remove what the other targets made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
