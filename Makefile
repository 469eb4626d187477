# Everything runs in .venv, which is made on first use and updated when pyproject.toml changes.
# Variables: PYTHON (the interpreter that makes .venv), NP (ranks of the demo), PYTEST_ARGS.

PYTHON ?= python3
NP ?= 2
PYTEST_ARGS ?=
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := snapuq tests benchmarks docs_src .ci/docstrings.py

# The bundled mpirun must come first; one BLAS thread per rank.
export PATH := $(BIN):$(PATH)
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test soak lint bench docs clean

help:
	@echo "make demo    a first report in minutes: fit, sample and $(NP) ranks of property calculations"
	@echo "make test    all tests, on the real LAMMPS and under mpirun"
	@echo "make soak    the tests that take half a minute or more: kills, long campaigns"
	@echo "make lint    ruff, mypy, import rules, docstrings, and no torch"
	@echo "make bench   benchmarks against named peers, quick form"
	@echo "make docs    manual and API reference in docs/html"
	@echo "make venv    the environment alone;   make clean   remove what was made here"

venv: $(STAMP)

$(STAMP): pyproject.toml
	@echo "== Setting up .venv (a few minutes on first use)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "snapuq needs Python 3.10 or newer: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[bundled,fitsnap,test]'
	@# fitsnap3 declares torch, which linear and quadratic SNAP never use.
	$(BIN)/python -m pip install --quiet --no-deps fitsnap3==3.1.0.4
	@touch $@
	@echo "== .venv is ready"

demo: $(STAMP)
	@echo "== Running workflows/quickstart.yaml on $(NP) ranks"
	$(BIN)/mpirun -n $(NP) $(BIN)/snapuq run workflows/quickstart.yaml --output runs/quickstart
	@echo "== Open runs/quickstart/report.html"

test: $(STAMP)
	@echo "== Testing (tests of several ranks call mpirun themselves)"
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

soak: $(STAMP)
	@echo "== Testing what takes long"
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

lint: $(STAMP)
	@echo "== ruff"
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	@echo "== mypy"
	$(BIN)/mypy
	@echo "== import rules"
	$(BIN)/lint-imports
	@echo "== docstrings"
	$(BIN)/python .ci/docstrings.py
	@echo "== no torch"
	@! $(BIN)/python -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' || \
	  { echo "torch came along; nothing here needs it"; exit 1; }

bench: $(STAMP)
	@for script in benchmarks/bench_*.py; do \
	  [ -e "$$script" ] || { echo "no benchmarks yet"; exit 0; }; \
	  echo "== $$script"; $(BIN)/python "$$script" --quick || exit 1; \
	done

docs: $(STAMP)
	@echo "== API reference"
	$(BIN)/sphinx-apidoc -q --force --separate --module-first -o docs/source snapuq
	cp docs_src/*.rst docs_src/pressure.py docs/source/
	$(BIN)/sphinx-build --quiet -b html -c docs_src docs/source docs/html
	@echo "== Open docs/html/index.html"

clean:
	rm -rf .venv docs dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find snapuq tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
