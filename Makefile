# make demo: see what VMFerry does.   make test: test it.   make quick: at each save.
# make prove: hunt for what breaks it.   make bench: measure it.
# The first call makes .venv from requirements/dev.txt: exact versions, checked by their hashes.

PYTHON ?= python3
VENV   := .venv
LOCK   := requirements/dev.txt
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready

# Tests start hundreds of Python processes: each loads what the first one has compiled.
unexport PYTHONDONTWRITEBYTECODE

# Tests wait for PowerShell, for processes and for threads: more workers than processors.
PYTEST  = $(BIN)/python -m pytest
WORKERS = -n $$($(BIN)/python -c 'import os; print(os.cpu_count() + 1)')

.PHONY: demo test coverage quick prove lint bench docs lowest newest other-versions lock clean
.DEFAULT_GOAL := demo

demo: $(READY)
	@$(BIN)/vmferry demo

# Everything, with a few of the nights, kills and floods that `make prove` plays.
test: lint
	@$(PYTEST) $(WORKERS)

# `make test` without what `make prove` plays, with the coverage and its floor. Takes twice as long.
coverage: lint
	@$(PYTEST) $(WORKERS) -m "not prove" --cov

# At each save: lint and the tests of what decides. They need no Slack and no PowerShell.
quick: lint
	@$(PYTEST) $(WORKERS) $(QUICK)
QUICK = tests/engine tests/test_architecture.py tests/test_dependencies.py

# Random nights, kill sweeps and floods: VMFERRY_PROVE=small, middle, full, or N times full.
prove: $(READY)
	@VMFERRY_PROVE=$${VMFERRY_PROVE:-full} $(PYTEST) $(WORKERS) -m prove --durations=10

lint: $(READY)
	@$(BIN)/ruff format --check --quiet . || { echo "Run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary

# One table, printed and written to docs/benchmarks.md. Takes a while and the machine for itself.
bench: $(READY)
	@$(BIN)/python -m tests.bench

# The pages that are written from the code, and settings.example.toml.
docs: $(READY)
	@$(BIN)/python docs/make_states.py
	@$(BIN)/python docs/make_settings.py

# The quick tests with the oldest versions that pyproject.toml allows.
lowest:
	@$(MAKE) --no-print-directory other-versions VENV=.venv-lowest LOCK=requirements/lowest.txt

# The quick tests with the newest Python on this machine.
newest:
	@newest=$$($(PYTHON) .ci/newest_python.py) || exit 1; \
	[ -n "$$newest" ] || \
	  { echo "make newest: skipped, there is no Python newer than $$($(PYTHON) --version)"; exit 0; }; \
	$(MAKE) --no-print-directory other-versions PYTHON="$$newest" \
	  VENV=".venv-$$("$$newest" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"

other-versions: $(READY)
	@echo "$$($(BIN)/python --version), $(LOCK):"
	@$(PYTEST) $(WORKERS) $(QUICK)

# Write the exact versions again. What is locked stays as it is while pyproject.toml allows it;
# `make lock UV_FLAGS=--upgrade` takes the newest of everything.
UV         := uv==0.13.9
UV_FLAGS   :=
UV_COMPILE  = .venv-lock/bin/uv pip compile pyproject.toml --extra dev --universal \
  --python-version 3.11 --generate-hashes --custom-compile-command 'make lock' --quiet

lock:
	@[ -d .venv-lock ] || $(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check '$(UV)'
	@$(UV_COMPILE) $(UV_FLAGS) --output-file requirements/dev.txt
	@$(UV_COMPILE) --upgrade --resolution lowest-direct --output-file requirements/lowest.txt

clean:
	@rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis htmlcov
	@rm -f .coverage .coverage.*
	@find bot engine tests docs .ci -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml $(LOCK)
	@command -v $(PYTHON) >/dev/null || \
	  { echo "VMFerry needs Python 3.11 or newer; there is no $(PYTHON). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "VMFerry needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments. Try: sudo apt-get install python3-venv"; exit 1; }
	@echo "Installing $(LOCK) into $(VENV) (once)..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check \
	  --no-deps --require-hashes --requirement $(LOCK)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check \
	  --no-deps --no-build-isolation --editable .
	@touch $(READY)
