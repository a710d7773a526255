# make demo: see what VMFerry does.   make test: prove it.   make bench: measure it.
# The first call makes .venv with the exact versions of constraints.txt; later calls reuse it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test lint bench docs clean
.DEFAULT_GOAL := demo

demo: $(READY)
	@$(BIN)/vmferry demo

test: lint
	@$(BIN)/python -m pytest --cov

lint: $(READY)
	@$(BIN)/ruff format --check --quiet . || { echo "Run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary

# One table, printed and written to docs/benchmarks.md. Takes a while and the machine for itself.
bench: $(READY)
	@$(BIN)/python -m tests.bench

# What is drawn from the code.
docs: $(READY)
	@$(BIN)/python docs/make_states.py

clean:
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis htmlcov
	@rm -f .coverage .coverage.*
	@find bot engine tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || \
	  { echo "VMFerry needs Python 3.11 or newer; there is no $(PYTHON). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "VMFerry needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments. Try: sudo apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) (once)..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)
