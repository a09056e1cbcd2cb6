# make demo: set up and run ten real households for a week.  make test: set up and run every test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
JOBS ?= 2
DEMO ?= runs/demo

export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0
export OMP_NUM_THREADS := 1

.PHONY: setup demo test test-hosts lint nightly clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	rm -rf $(DEMO)
	$(BIN)/fedwatt simulate --config demo --out $(DEMO)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# Separate hosts in network namespaces, with every fault: needs root, takes about three quarters of an hour.
test-hosts: $(INSTALLED)
	FEDWATT_HOSTS=long $(BIN)/python -m pytest -s tests/hosts

nightly: $(INSTALLED)
	FEDWATT_NIGHTLY=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m nightly
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests/fl_server/market --hypothesis-profile=nightly

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
