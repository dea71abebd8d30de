# The same commands for people and for CI. Needs nothing but make and Python 3.11 or newer.

PYTHON  ?= python3
BACKEND ?= tensorflow
ARGS    ?=

# One environment for each backend, so that "works with any one of them installed" is proved.
VENV   := $(if $(filter tensorflow,$(BACKEND)),.venv,.venv-$(BACKEND))
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# The peers and all three backends, so that one run compares everything.
BENCH_VENV  := .venv-bench
BENCH_READY := $(BENCH_VENV)/.ready

# Ray brings 200 MB along, for one test.
RAY_VENV  := .venv-ray
RAY_READY := $(RAY_VENV)/.ready

export KERAS_BACKEND := $(BACKEND)

.DEFAULT_GOAL := help
.PHONY: help setup demo test corpus check format bench ray clean

help: ## Lists these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  BACKEND=tensorflow|jax|torch picks the backend, ARGS=... goes on to the command:"
	@echo "  make demo BACKEND=jax ARGS='--samples 2000'    make test ARGS='tests/cli -x'"

setup: $(READY) ## Makes the environment of BACKEND (done by itself where it is needed)

demo: $(READY) ## Draws road pictures, trains on them from HDF5, says what the time went to
	@$(BIN)/prefetcher demo $(ARGS)

test: $(READY) ## Runs the tests on BACKEND
	$(BIN)/python -m pytest $(ARGS)

corpus: $(READY) ## Compares with h5py over the HDF5 files of FOLDER (ARGS=--verbose: each dataset)
	@test -n "$(FOLDER)" || { echo "write make corpus FOLDER=where/the/files/are" >&2; exit 2; }
	@$(BIN)/python tests/corpus.py "$(FOLDER)" $(ARGS)

check: $(READY) ## Lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY) ## Formats the code and mends what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(BENCH_READY) ## Measures everything against its peers and limits (2.3 hours; ARGS=--quick: 20 minutes)
	$(BENCH_VENV)/bin/python -m bench $(ARGS)

ray: $(RAY_READY) ## Trains on two workers of Ray Train and loses one of them (2 minutes)
	KERAS_BACKEND=jax $(RAY_VENV)/bin/python -m pytest -m slow tests/test_examples.py $(ARGS)

clean: ## Removes caches and what the demo wrote (the environments stay: rm -r .venv*)
	rm -rf build dist demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find prefetcher tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@case $(BACKEND) in tensorflow|jax|torch) ;; \
		*) echo "BACKEND=$(BACKEND): write tensorflow, jax or torch" >&2; exit 2 ;; esac
	$(call make_venv,$(VENV))
# The plain CPU build first: what needs torch later finds it there and pulls no bigger one.
ifeq ($(BACKEND),torch)
	$(BIN)/python -m pip install --quiet torch==2.13.0
endif
	$(BIN)/python -m pip install --quiet --editable '.[$(BACKEND),dev]'
	@touch $@

$(BENCH_READY): pyproject.toml
	$(call make_venv,$(BENCH_VENV))
	$(BENCH_VENV)/bin/python -m pip install --quiet torch==2.13.0
	$(BENCH_VENV)/bin/python -m pip install --quiet --editable '.[tensorflow,jax,torch,bench]'
	@touch $@

$(RAY_READY): pyproject.toml
	$(call make_venv,$(RAY_VENV))
	$(RAY_VENV)/bin/python -m pip install --quiet 'ray[train]==2.60.0' --editable '.[jax,dev]'
	@touch $@

define make_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "prefetcher needs Python 3.11 or newer, and $(PYTHON) is not:" \
		"name another one, as in make PYTHON=python3.12" >&2; exit 1; }
$(PYTHON) -m venv $(1)
endef
