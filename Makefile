# make demo: set up and run ten real households for a week.  make test: set up and run every test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# One more than two cores: many tests wait for processes of their own.
JOBS ?= 3
DEMO ?= runs/demo
COMMUNITY ?= runs/community

export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0
export OMP_NUM_THREADS := 1

.PHONY: setup demo community test pytest test-hosts test-live test-oldest test-latest test-flower lint nightly clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
		--constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	rm -rf $(DEMO)
	$(BIN)/fedwatt simulate --config demo --out $(DEMO)

# A coordinator, a broker and four households on emulated houses, at 60 times the clock; pages on loopback, 9480 to 9484.
# Needs mosquitto.  Interrupt to end.
community: $(INSTALLED)
	rm -rf $(COMMUNITY)
	$(BIN)/fedwatt community --out $(COMMUNITY)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Types take a core for a minute: beside the tests.
test: $(INSTALLED)
	$(MAKE) --no-print-directory --jobs=2 lint pytest

pytest: $(INSTALLED)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# Separate hosts in network namespaces, with every fault: needs root, takes about three quarters of an hour.
# The newest Flower: make test-hosts HOSTS_VENV=.venv-flower, and by HTTP: TRANSPORT=http as well.
HOSTS_VENV ?= $(VENV)
TRANSPORT ?= grpc

test-hosts: $(HOSTS_VENV)/.installed
	FEDWATT_HOSTS=long FEDWATT_TRANSPORT=$(TRANSPORT) $(HOSTS_VENV)/bin/python -m pytest -s tests/hosts

# The lowest and the newest dependencies that pyproject.toml allows, each in an environment of its own.
# Bytes of one run are compared with those of another there, never with those of other versions.
# uv's own settings in pyproject.toml are for `flwr run`, and left out here.
WANTED := --requirement pyproject.toml --extra test --extra benchmark
# Another interpreter: make clean test-latest TRIED=python3.13
TRIED ?= $(BIN)/python

.venv-oldest/.installed: HOW := --resolution lowest-direct
.venv-latest/.installed: HOW := --resolution highest --upgrade
.venv-oldest/.installed .venv-latest/.installed: pyproject.toml | $(INSTALLED)
	rm -rf $(@D)
	$(BIN)/uv venv --no-config --quiet --python $(TRIED) $(@D)
	$(BIN)/uv pip install --no-config --quiet --python $(@D)/bin/python $(HOW) $(WANTED)
	$(BIN)/uv pip install --no-config --quiet --python $(@D)/bin/python --no-deps --editable .
	touch $@

test-oldest: .venv-oldest/.installed
	.venv-oldest/bin/python -m pytest -n $(JOBS) --dist worksteal

test-latest: .venv-latest/.installed
	.venv-latest/bin/python -m pytest -n $(JOBS) --dist worksteal

# The newest Flower that was tried, with everything else as it is pinned, in an environment of its own: what
# touches Flower runs on it, and on the pinned one beside it, each with a household of the other.
FLOWER := 1.42.0
FLOWER_TESTS := tests/common/test_flower_release.py tests/simulations/engine tests/simulations/test_flwr_run.py \
	tests/fl_server/host tests/fl_client/host tests/hosts

.venv-flower/.installed: pyproject.toml constraints.txt | $(INSTALLED)
	rm -rf $(@D)
	$(BIN)/uv venv --no-config --quiet --python $(BIN)/python $(@D)
	grep -viE '^(flwr|cryptography|uv|certifi)==' constraints.txt > $(@D)/constraints.txt
	$(BIN)/uv pip install --no-config --quiet --python $(@D)/bin/python --constraint $(@D)/constraints.txt \
		$(WANTED) flwr==$(FLOWER)
	$(BIN)/uv pip install --no-config --quiet --python $(@D)/bin/python --no-deps --editable .
	touch $@

test-flower: .venv-flower/.installed
	FEDWATT_OTHER_PYTHON=$(CURDIR)/$(BIN)/python .venv-flower/bin/python -m pytest $(FLOWER_TESTS)
	FEDWATT_OTHER_PYTHON=$(CURDIR)/.venv-flower/bin/python $(BIN)/python -m pytest $(FLOWER_TESTS)

# Homes on real meters' paths, Home Assistant among them (an environment of its own, 700 MB), at 60 times the clock.
# Needs mosquitto and libfaketime. LIVE_INTERVALS=96 are two days, in 50 minutes.
LIVE_INTERVALS ?= 4
HASS := .venv-live/bin/hass

$(HASS):
	$(PYTHON) -m venv .venv-live
	.venv-live/bin/python -m pip install --quiet --disable-pip-version-check homeassistant==2024.3.3 'josepy<2'

test-live: $(INSTALLED) $(HASS)
	FEDWATT_HASS=$(CURDIR)/$(HASS) FEDWATT_LIVE_INTERVALS=$(LIVE_INTERVALS) $(BIN)/python -m pytest -s \
		tests/fl_client/home/test_metering.py tests/simulations/test_live_homes.py tests/fl_client/host/test_entities.py \
		tests/fl_client/control/adapters/test_homeassistant.py \
		tests/fl_client/host/test_control_by_homeassistant.py

nightly: $(INSTALLED)
	FEDWATT_NIGHTLY=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "nightly or longer"
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --hypothesis-profile=nightly \
		tests/fl_server/market tests/simulations/test_unlike.py
	FEDWATT_NIGHTLY=1 $(BIN)/python -m pytest -s tests/fl_server/test_fuzz.py

clean:
	rm -rf $(VENV) .venv-oldest .venv-latest .venv-flower .venv-live build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
