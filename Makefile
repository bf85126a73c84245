# Everything a contributor types. `make demo` and `make test` prepare what they need on a fresh clone.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
CLIENTS := .venv-clients
SOURCES := whyserve models explain export serving

# Quieter TensorFlow; no GPU is looked for on machines that have none.
export TF_CPP_MIN_LOG_LEVEL ?= 2
export PYTHONUNBUFFERED = 1
# ONNX Runtime's wheels send usage data unless they are told not to.
export ORT_DISABLE_TELEMETRY = 1

.PHONY: help install demo test test-robustness check format lock protos clean
.DEFAULT_GOAL := help

include image.mk

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.bootstrap: requirements/bootstrap.txt
	@echo "-- creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Whyserve needs Python 3.11 or newer. Found: $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(VENV)/.build: $(VENV)/.bootstrap requirements/build.txt pyproject.toml
	@echo "-- installing the locked dependencies (TensorFlow and ONNX Runtime are large; about a minute)"
	@$(UV) pip install --python $(BIN)/python --require-hashes -r requirements/build.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.build requirements/dev.txt
	@echo "-- installing the developers' tools"
	@$(UV) pip install --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

# Strangers' clients need an older protobuf than ours, and prove more where they share nothing with the server.
$(CLIENTS)/.installed: $(VENV)/.bootstrap requirements/clients.txt
	@echo "-- installing the clients that the tests ask the server with"
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python $(CLIENTS)
	@$(UV) pip install --quiet --python $(CLIENTS)/bin/python --require-hashes -r requirements/clients.txt
	@touch $@

install: $(VENV)/.dev ## the virtual environment, from locked dependencies

demo: $(VENV)/.build ## train, export, verify, serve, predict and explain on real digits
	@$(BIN)/whyserve demo

# Two at a time, a file in one piece: most of the time goes into TensorFlow's start and single threads.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

test: $(VENV)/.dev $(CLIENTS)/.installed ## every test
	@$(PYTEST) --durations=15

test-robustness: $(VENV)/.dev ## broken, slow and hostile clients, damaged versions, full disks, kill -9 (minutes)
	@$(BIN)/python -m pytest --durations=10 tests/robustness/check_*.py

check: $(VENV)/.dev ## format, lint, types, import contracts, fast tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(PYTEST) -q -m "not slow"

format: $(VENV)/.dev ## format the code and mend what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

protos: $(VENV)/.dev ## generate the message classes from serving/protos/*.proto
	@$(BIN)/python -m serving.protos.generate

# The pins carry hashes and no index address, so that they hold wherever the packages come from.
COMPILE = $(UV) pip compile --quiet --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
lock: $(VENV)/.bootstrap ## bring the locked dependencies up to date
	@$(COMPILE) requirements/bootstrap.in -o requirements/bootstrap.txt
	@$(COMPILE) pyproject.toml --extra build --extra tracing --extra dev -o requirements/dev.txt
	@$(COMPILE) pyproject.toml --extra build -c requirements/dev.txt -o requirements/build.txt
	@$(COMPILE) pyproject.toml --extra cpu --extra tracing -c requirements/dev.txt -o requirements/server.txt
	@$(COMPILE) pyproject.toml --extra gpu --extra tracing -c requirements/dev.txt -o requirements/server-gpu.txt
	@$(COMPILE) requirements/clients.in -o requirements/clients.txt

clean: ## remove what was made here: environment, demo, caches
	@rm -rf $(VENV) $(CLIENTS) demo .pytest_cache .mypy_cache .ruff_cache *.egg-info
