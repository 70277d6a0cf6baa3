# Every target makes the virtual environment that it needs; Python 3.10+ with venv, and make, are all it takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEER := .venv-peer
BENCH := build/bench

.PHONY: demo test check bench accuracy docs fuzz format clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# One stamp per extra; the package itself is installed editable.
$(VENV)/.%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

demo: $(VENV)/.litert
	$(BIN)/python demo/table.py

test: $(VENV)/.test
	$(BIN)/python -m pytest

check: $(VENV)/.dev $(VENV)/.test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

docs: $(VENV)/.test
	$(BIN)/python docs/generate.py
	$(BIN)/python -m pytest tests/house/test_docs.py

fuzz: $(VENV)/.test
	$(BIN)/python -m tests.hostile.fuzz --count 20000

# The peer lives in an environment of its own; where it can't be had, the table says so.
$(PEER)/.made:
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet litert-quantizer==0.11.0 || true
	@touch $@

accuracy: $(VENV)/.litert
	$(BIN)/python -m benchmarks.accuracy

bench: $(VENV)/.litert $(PEER)/.made
	$(BIN)/python -m benchmarks --peer-python $(PEER)/bin/python --out $(BENCH)

format: $(VENV)/.dev
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean:
	rm -rf $(VENV) $(PEER) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
