# Wearcast: everything a contributor types. Needs Python >= 3.11 and make; the rest goes into .venv.
#
#   make setup PYTHON=python3.12       which interpreter the environment is made with
#   make setup TORCH_INDEX=URL         one more package index, for instance one that serves CPU-only builds of torch
#   make test ARGS='tests/unit -k rul' only these tests, without the coverage bar

VENV        ?= .venv
PYTHON      ?=
TORCH_INDEX ?=
ARGS        ?=
WORKERS     ?= auto

BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
EXTRAS := train,report,serve,registry,dev,docs
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fmt docs bench wheel clean
.DELETE_ON_ERROR:

help: ## This list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup: $(STAMP) ## The environment in .venv; a second run installs nothing
	@echo '$(VENV) is ready'

# Torch goes first and alone: pulled in by another package it can come as another build.
$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(PIP) install --quiet -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -b constraints.txt -e '.[$(EXTRAS)]' \
	  || { echo 'uv could not; going on with pip'; $(PIP) install --quiet -c constraints.txt -e '.[$(EXTRAS)]'; }
	@touch $@

$(BIN)/python:
	@for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "$$python -m venv $(VENV)"; \
	    $$python -m venv $(VENV) && exit 0; \
	    rm -rf $(VENV); echo 'venv failed; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; \
	  fi; \
	done; echo 'Python >= 3.11 is needed; name one with make setup PYTHON=/path/to/python' >&2; exit 1

demo: $(STAMP) ## The main job, end to end, on a simulated fleet
	$(BIN)/wearcast demo

# One thread a worker: the workers share the cores. Compiled code is kept, whatever the shell says: it is imported often.
# Lines are counted by slipcover, which costs a twentieth of the time; a tracer of Python 3.11 costs a quarter. It is asked
# for the bar apart: where there are workers it counts once, and would report nothing after it.
test: $(VENV)/.compiled ## All tests and the coverage bar; ARGS=... for some
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/$(if $(ARGS),pytest $(ARGS),python -m slipcover --json --out .coverage.json \
	  -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal)
	$(if $(ARGS),,$(BIN)/python -m slipcover --fail-under 95 --out .coverage.json --merge .coverage.json)

# Processes that tests start import the same packages: compiled on all cores, once, instead of by whoever comes first.
$(VENV)/.compiled: $(STAMP)
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true # a package may hold a file that is no Python
	@touch $@

check: $(STAMP) ## Format, lint, types, import contract, docstrings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/interrogate --quiet src

fmt: $(STAMP) ## Format and mend what can be mended
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

docs: $(STAMP) ## The documentation, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'site/index.html'

bench: $(VENV)/.installed-bench ## Every script in benchmarks/ that compares; the service's need wrk and redis-server
	@set -e; for script in $(filter-out benchmarks/recipe_choices.py,$(wildcard benchmarks/[!_]*.py)); do \
	  echo "== $$script"; $(BIN)/python $$script; done

$(VENV)/.installed-bench: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS),bench]'
	@touch $@

# What a user of a bundle installs: the wheel with the core dependencies only, no torch.
wheel: $(STAMP) ## Build the wheel and try it in an environment without torch
	rm -rf dist
	$(BIN)/uv build --quiet --wheel --build-constraints constraints.txt --out-dir dist
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python dist/venv
	$(BIN)/uv pip install --quiet --python dist/venv/bin/python -c constraints.txt dist/*.whl
	dist/venv/bin/python -I .ci/try_wheel.py
	$(BIN)/wearcast train simulated-lightgbm --set dataset.units=12 --set backbone.n_trees=20 --no-progress --out dist/bundle
	dist/venv/bin/wearcast predict dist/bundle simulated --out dist/forecast.csv

clean: ## Remove what was built; .venv and runs/ stay
	rm -rf dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage.json
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
