# Every target makes the virtual environment that it needs; Python 3.10+ with venv, and make, are all it takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEER := .venv-peer
BENCH := build/bench

.PHONY: demo test check conformance bench accuracy defaults docs fuzz format clean

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

# Every integer against LiteRT's: 500 random models of each operator and type for each runtime (4 for each example);
# then whole files, of which tensors are compared (outputs with xnnpack). These need the folder of models and data, and
# take their time: `make conformance EXAMPLES=1 SAMPLES=1 LARGE=1` goes over all of them in some minutes.
EXAMPLES ?= 125
SAMPLES ?= 200
LARGE ?= 20
TABLE := $(BIN)/python -m tests.conformance.table --samples $(SAMPLES) --large $(LARGE)
conformance: $(VENV)/.test
	QUANTLIB_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/conformance/test_random.py
	$(TABLE)
	$(TABLE) --runtime builtin --tasks
	$(TABLE) --runtime xnnpack --tasks

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

# Both need the folder of models and data beside the repository, and say so where it isn't there.
accuracy: $(VENV)/.litert
	$(BIN)/python -m benchmarks.accuracy --docs --check

defaults: $(VENV)/.litert
	$(BIN)/python -m benchmarks.defaults --docs

bench: $(VENV)/.litert $(PEER)/.made
	$(BIN)/python -m benchmarks --peer-python $(PEER)/bin/python --out $(BENCH)
	$(BIN)/python -m benchmarks.defaults --limit 8 --out $(BENCH)/defaults.md || test $$? -eq 2

format: $(VENV)/.dev
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean:
	rm -rf $(VENV) $(PEER) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
