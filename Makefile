# Two commands do everything: `make demo` and `make test`. Each makes its own environment first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= demo
NPROCS ?= $(shell nproc)

# Every process would compile what it imports; the environment is ours to keep bytecode in.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow test-container lint docs bench fuzz lock audit licences sbom clean-demo

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# A small travelling-subject study: phantom, participant, group, and where to look.
demo: $(VENV)/.ready
	test -e $(DEMO)/raw/dataset_description.json || $(BIN)/bids-mmh-phantom $(DEMO)/raw --subjects 2 --sites 2 --travelling --seed 7 --no-truth --nprocs $(NPROCS)
	$(BIN)/bids-mmh $(DEMO)/raw $(DEMO)/out participant --work-dir $(DEMO)/work --nprocs $(NPROCS) --omp-nthreads 1
	$(BIN)/bids-mmh $(DEMO)/raw $(DEMO)/out group
	@echo; echo "Open $(abspath $(DEMO))/out/group.html"

# One process a core, each with one thread (tests/conftest.py); the tests of a file share what is made for them, so
# files stay whole. They begin in the order of tests/conftest.py, not those of most tests first. ARGS goes to pytest,
# as in `make test ARGS=--durations=20`.
test: $(VENV)/.ready
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m slow

# Build the image and harmonize a phantom in it; says why where no engine can build one (docs/containers.md).
test-container: $(VENV)/.ready
	$(BIN)/python -m pytest -m container -rs tests/containers

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck --external-sources --source-path singularity/slurm container/*.sh singularity/slurm/*.sh

# The documentation site; a dead link or a missing page is an error (but not with --quiet, which silences the check).
docs: $(VENV)/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open $(CURDIR)/site/index.html; for the search, run $(BIN)/mkdocs serve"

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/speed/bench.py

# Damaged files by the thousand; ends with 1 if one is neither read rightly nor refused in a sentence.
fuzz: $(VENV)/.ready
	$(BIN)/python benchmarks/robustness/fuzz.py --cases 2000 --processes $(NPROCS)

# Known vulnerabilities of the locked packages; asks the Python Packaging Advisory Database over the network.
audit: $(VENV)/.ready
	$(BIN)/uv tool run --from 'pip-audit>=2.9,<3' pip-audit --requirement requirements.lock --no-deps --disable-pip --strict

# The licence of every installed package; the tool comes over the network. None may ask for the source of a service.
licences: $(VENV)/.ready
	$(BIN)/uv tool run --from 'pip-licenses>=5,<6' pip-licenses --python $(BIN)/python --with-urls --format=markdown --order=license --partial-match --fail-on='AGPL;Affero' --output-file=licences.md

# Bill of materials of the locked packages, CycloneDX; the tool comes over the network.
sbom: $(VENV)/.ready
	$(BIN)/uv tool run --from 'cyclonedx-bom>=7,<8' cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --output-file sbom.cdx.json

# Renew the lock; constraints.txt holds the builds that must stay together.
lock: $(VENV)/.ready
	$(BIN)/uv pip compile --upgrade --universal --python-version 3.11 --no-emit-index-url pyproject.toml --group dev -c constraints.txt -o requirements.lock

clean-demo:
	rm -rf $(DEMO)
