# expkit. `make help` lists what there is to do; everything runs in .venv, which is made and filled on first use.

VENV    ?= .venv
PYTHON  ?=
ARGS    ?=
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check
STAMP   := $(VENV)/.expkit

# pyenv's shims exist for versions that are switched off, so a candidate counts only when it runs.
FIND_PYTHON = for p in $(PYTHON) $(if $(PYTHON),,python3 python3.13 python3.12 python3.11 python $(wildcard $(HOME)/.pyenv/versions/3.1[123]*/bin/python)); do \
	if "$$p" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then echo "$$p"; exit; fi; done

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv train test quick soak lint types lines docs bench ui wheel clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: $(STAMP)-run  ## train on the handwritten digits: make train ARGS="model.hidden=[64] seed=3"
	@set -f; $(BIN)/expkit train model=mlp optim=adam $(ARGS)

test: $(STAMP)-test  ## run the whole test suite: make test ARGS="tests/nn -k linear"
	@$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

quick: $(STAMP)-test  ## the inner loop: the tests that are not slow, under two minutes
	@$(BIN)/python -m pytest -q -x -n auto -m "not slow and not soak" $(ARGS)

soak: $(STAMP)-test  ## the long-running tests
	@$(BIN)/python -m pytest -m soak $(ARGS)

lint: $(STAMP)-lint  ## check the style (ruff)
	@$(BIN)/ruff check --output-format concise .

types: $(STAMP)-lint  ## check the types (mypy)
	@$(BIN)/mypy

lines: $(STAMP)-run  ## list the files and functions that are longer than they should be
	@$(BIN)/python -m tests.structure.test_budget

docs: $(STAMP)-run  ## write docs/reference/ anew, from the registry and the docstrings
	@$(BIN)/python docs/generate.py

bench: $(STAMP)-bench  ## time expkit beside PyTorch and JAX; the tables go to .benchmarks/ too
	@$(BIN)/python benchmarks/run.py $(ARGS)

ui: $(STAMP)-run  ## open the dashboard of all runs (MLflow)
	@$(BIN)/expkit ui $(ARGS)

wheel: $(STAMP)-run  ## build the wheel into dist/
	@$(PIP) wheel --quiet --no-deps --wheel-dir dist .
	@ls -l dist

clean:  ## remove caches and built files (keeps .venv and outputs)
	@rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	@find expkit tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

venv: $(STAMP)  ## make an empty .venv (PYTHON=... chooses the interpreter)

$(STAMP):
	@if ! $(PIP) --version >/dev/null 2>&1; then \
		python="$$($(FIND_PYTHON))"; \
		if [ -z "$$python" ]; then \
			echo "expkit needs Python 3.11, 3.12 or 3.13 with venv (Debian: apt install python3-venv); none was found." >&2; \
			echo "If it is elsewhere: make PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
		echo "making $(VENV) with $$python"; \
		"$$python" -m venv --clear $(VENV); fi
	@touch $@

# One stamp per set of dependencies: `make train` installs the runtime alone, the others what they need on top.
$(STAMP)-%: pyproject.toml | $(STAMP)
	@echo "installing expkit$(if $(filter run,$*),,[$*]) into $(VENV) (once)"
	@$(PIP) install --quiet --editable '.$(if $(filter run,$*),,[$*])'
	@touch $@ $(STAMP)-run
