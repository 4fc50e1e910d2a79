# Two commands do all set-up on a fresh machine: `make up` and `make test`. They need python3 with venv, and gcc.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2
INPUTS ?= 1000000
KILLS ?= 1000
LARGE_MB ?= 2048
FAILOVERS ?= 2000
ROUNDS ?= 50
SECONDS ?= 600
SEEDS ?= 100
FIRST ?= 0
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: help up test lint typecheck bench bench-steady soak sim clean ext

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

up: ext  ## install into .venv and run a cluster here; ARGS="--shards 2 ..." are options of `sherd up`
	@exec $(BIN)/sherd up $(ARGS)

test: ext  ## everything that must hold before a change is accepted: lint, both builds, the sanitizer build
	@$(BIN)/python tools/checks.py all

lint: ext  ## ruff, import contracts, file and function sizes
	@$(BIN)/python tools/checks.py lint

typecheck: $(INSTALLED)  ## mypy --strict
	@$(BIN)/python tools/checks.py typecheck

bench: ext  ## the load generator; ARGS="--workload a ..." are options of `sherd bench`
	@$(BIN)/sherd bench $(ARGS)

bench-steady: ext  ## random writes at 70 % of the sustained rate for SECONDS=600: p99.9 and gaps
	@$(BIN)/python loadtest/steady.py --seconds $(SECONDS)

soak: ext  ## long runs: fuzz INPUTS=1000000 of each decoder, KILLS=1000 of a whole cluster, FAILOVERS=2000, ROUNDS=50 of faults between hosts, LARGE_MB=2048 in one shard
	SHERD_SOAK=1 SHERD_SOAK_INPUTS=$(INPUTS) $(BIN)/python -m pytest -m soak -q tests
	SHERD_KILL_ROUNDS=$(KILLS) SHERD_LARGE_MB=$(LARGE_MB) SHERD_FAILOVERS=$(FAILOVERS) \
		SHERD_HOSTS_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -q -s \
		--timeout=36000 tests/cluster/test_kill.py tests/cluster/test_failover.py tests/cluster/hosts tests/large

sim: ext  ## a simulated cluster under faults: SEEDS=100 from FIRST=0 of SHERD_SIM_SECONDS=300 simulated seconds each
	@PYTHONHASHSEED=0 PYTHONPATH=tests SHERD_SIM_SECONDS=$${SHERD_SIM_SECONDS:-300} \
		$(BIN)/python -m sim.many --first $(FIRST) --seeds $(SEEDS) --jobs $(JOBS)

clean:  ## remove everything that was built, and the virtual environment
	rm -rf build dist $(VENV) *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.so' -delete

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The modules are compiled once, by `ext`; installing the links to the sources compiles none.
$(INSTALLED): pyproject.toml setup.py | $(BIN)/python
	@echo "== installing into $(VENV)"
	$(PIP) install 'setuptools>=77' 'cython>=3.1,<4' wheel
	SHERD_BUILD_ONLY=none $(PIP) install --no-build-isolation -e '.[dev]'
	@touch $@

ext: $(INSTALLED)  ## recompile changed modules in place
	@mkdir -p build
	@echo "== compiling changed modules"
	@flock build/.lock env SHERD_BUILD_JOBS=$(JOBS) $(BIN)/python setup.py -q build_ext --inplace -j $(JOBS)
