# Everything there is to do here. The first call makes .venv from requirements.lock.
#   PYTHON=…  the interpreter to make .venv with (default: the first of 3.11 or later that is found)
#   ARGS=…    more arguments for what a target runs: make test ARGS="-k demo"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
SHELL := /bin/sh

PY := .venv/bin/python
ARGS ?=
CODE := service graph ml proto tests deploy

# An interpreter is of use only if it runs, is new enough and can make an environment with pip in it.
define find_python
for candidate in $${PYTHON:-python3 python3.11 python3.12 python3.13 python}; do \
  if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
  then found=$$candidate; break; fi; \
done; \
if [ -z "$$found" ]; then \
  echo "Onefold needs Python 3.11 or later with venv; looked for: $${PYTHON:-python3 python3.11 python3.12 python3.13 python}." >&2; \
  echo "Install one (Debian, Ubuntu: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python" >&2; \
  exit 1; \
fi
endef

ifdef PYTHON
export PYTHON
endif

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/ready ## many records, one customer: the story on real orders, in two minutes (ARGS=--serve keeps it running)
	@$(PY) -m onefold.service.cli demo $(ARGS)

.PHONY: serve
serve: .venv/ready ## the service on this machine, with its engine and data in a folder
	@$(PY) -m onefold.service.cli serve $(ARGS)

.PHONY: test
test: .venv/ready ## the tests, on both engines where Neo4j can be had
	$(PY) -m pytest -m "not bench" $(ARGS)

.PHONY: prove
prove: .venv/ready ## the long form of the proofs that `make test` runs in short: within half an hour
	$(PY) -m pytest --prove --timeout 1500 $(ARGS)

.PHONY: mutate
mutate: .venv/ready ## breaks one rule at a time and names the test that notices (ARGS='--only lock' for some)
	@$(PY) -m tests.mutate $(ARGS)

.PHONY: lint
lint: .venv/ready ## ruff, mypy, import-linter, buf, and generated code up to date
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	.venv/bin/buf lint
	$(PY) proto/generate.py --check

.PHONY: check
check: lint test ## everything that CI checks: lint and test

.PHONY: format
format: .venv/ready ## writes the code as ruff lays it out
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .

.PHONY: proto
proto: .venv/ready ## writes the Python code of the contract
	$(PY) proto/generate.py

.PHONY: bench
bench: .venv/ready ## measures ratios to what the engine and gRPC can do bare
	@$(PY) -m tests.bench $(ARGS)

.PHONY: bench-ml
bench-ml: .venv/bench ## measures the predictions on real orders beside every baseline (ARGS=PATH of Online Retail as CSV; --write for the docs)
	@$(PY) -m tests.bench_ml $(ARGS)

.PHONY: notebook
notebook: .venv/ready ## runs the example notebooks and stores what they show (ARGS=insight for one)
	@$(PY) -m tests.notebook $(ARGS)

.PHONY: neo4j
neo4j: .venv/ready ## the Neo4j of the tests, until Ctrl-C; prints the settings that point the service at it
	@$(PY) -m tests.engines neo4j

.PHONY: dist
dist: .venv/ready ## wheel and sdist, in dist/
	rm -rf dist
	$(PY) -m build --no-isolation

.PHONY: lock
lock: .venv/ready ## resolves requirements.lock anew
	$(PY) deploy/lock.py

.PHONY: clean
clean: ## removes .venv, caches and what was built
	rm -rf .venv dist .cache .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/locked: requirements.lock
	@$(find_python); \
	echo "Making .venv with $$($$found --version) from requirements.lock (once; 1 GB, a few minutes)"; \
	$$found -m venv --clear .venv
	@$(PY) -m pip install --disable-pip-version-check --quiet --no-deps -r requirements.lock
	@touch $@

.venv/bench: .venv/ready
	@$(PY) -m pip install --disable-pip-version-check --quiet --no-build-isolation --editable ".[bench]"
	@touch $@

.venv/ready: .venv/locked pyproject.toml
	@$(PY) -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@
