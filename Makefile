# Two commands do everything: `make run` and `make test`. Both make .venv first, if it is not there.
PYTHON ?= python3
BIN := .venv/bin
# Installed again whenever the dependencies or the C source change.
STAMP := .venv/installed
SOURCES := pyproject.toml constraints.txt setup.py $(shell find src -name "*.c")
# Rendering has libraries of its own, which nobody else need wait for.
GPU := .venv-gpu
GPU_STAMP := $(GPU)/installed

# As somebody installs it who has only the wheel.
DIST := .venv-dist
DIST_STAMP := $(DIST)/installed

.PHONY: help run test test-fast test-long test-gpu check lint types format chaos simulate bench audit \
	constraints dist licences sbom clean

help:
	@echo "make run      run examples/spring-covers.toml on the embedded sandbox"
	@echo "make test     pass the tests (minutes)"
	@echo "make test-fast pass those that start nothing and wait for nothing (about a minute)"
	@echo "make test-long pass the long tests: kills, workers, schedules, whole waves by each lane"
	@echo "make test-gpu pass the tests of rendering, on CPU with tiny models; installs torch"
	@echo "make check    ruff and mypy, as CI runs them"
	@echo "make chaos    a hundred random kills (long)"
	@echo "make simulate simulated runs of the protocol for SECONDS=600 from SEED (now: by the clock)"
	@echo "make bench    the benchmarks (long)"
	@echo "make audit    known vulnerabilities of the dependencies (asks PyPI's advisory service)"
	@echo "make constraints write constraints.txt: the versions that CI tests with"
	@echo "make dist     build the distributions, and install the wheel with all extras into .venv-dist"
	@echo "make licences compare the licences of all in .venv-dist with those that we take"
	@echo "make sbom     list all in .venv-dist, as CycloneDX, in dist/sbom.cdx.json"
	@echo "make clean    remove .venv, .venv-gpu and caches, but no data"

$(STAMP): $(SOURCES)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fast]' --group dev
	@touch $(STAMP)

run: $(STAMP)
	$(BIN)/imagewave run examples/spring-covers.toml

test: $(STAMP)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-fast: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not heavy and not slow and not chaos'

test-long: $(STAMP)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m 'slow and not chaos' --timeout 900

$(GPU_STAMP): $(SOURCES)
	$(PYTHON) -m venv $(GPU)
	$(GPU)/bin/python -m pip install --quiet --upgrade pip
	$(GPU)/bin/python -m pip install --quiet --constraint constraints.txt \
		--editable '.[fast,gpu]' --group dev
	@touch $(GPU_STAMP)

test-gpu: $(GPU_STAMP)
	$(GPU)/bin/python -m pytest tests/providers/gpu/rendering tests/providers/gpu/test_lane.py \
		tests/tasks/judging/test_local_judge.py
	$(GPU)/bin/python -m pytest tests/deployments/test_render.py -m slow --timeout 900

check: lint types

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

chaos: $(STAMP)
	$(BIN)/python -m pytest tests/chaos tests/deployments -m chaos --timeout 7200

# Every run of it is another seed; what fails is replayed by its number.
SECONDS ?= 600
SEED ?= $(shell date +%s)
simulate: $(STAMP)
	$(BIN)/python -m tests.simulation --seconds $(SECONDS) --seed $(SEED)

# Each prints ratios of two things measured in one run; on a busy machine they mean little.
bench: $(STAMP)
	for name in startup lists overhead collect screening duplicates end_to_end scale oversampling; do \
		echo "== $$name"; $(BIN)/python benchmarks/$$name.py; \
	done

# Fails where the advisory service cannot be asked about every package: what was not audited is not
# known to be safe.
audit: $(STAMP)
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip freeze --exclude-editable > .venv/audited.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement .venv/audited.txt

constraints: $(STAMP)
	$(BIN)/python tools/constraints.py

dist: $(DIST_STAMP)

$(DIST_STAMP): $(STAMP) $(SOURCES) $(shell find src -name "*.py")
	rm -rf dist $(DIST)
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv $(DIST)
	$(DIST)/bin/python -m pip install --quiet --constraint constraints.txt "$$(ls dist/*.whl)[all]"
	@touch $(DIST_STAMP)

licences: $(DIST_STAMP)
	$(DIST)/bin/python tools/licences.py

sbom: $(DIST_STAMP)
	$(BIN)/python -m pip install --quiet cyclonedx-bom
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/sbom.cdx.json $(DIST)/bin/python

clean:
	rm -rf .venv $(GPU) $(DIST) dist .pytest_cache .ruff_cache .mypy_cache
