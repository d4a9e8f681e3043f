# Two commands set everything up on a bare machine: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test lint peers bench-receive kill-test phantom-model compose-check clean

demo: $(VENV)/installed  ## One synthetic film through a whole node; KEEP=1 keeps it running
	@$(BIN)/dicom-node demo $(if $(KEEP),--keep)

test: lint peers  ## Everything CI runs
	$(PYTEST)

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

peers: $(VENV)/installed-dev  ## Foreign peers and validators the tests talk to
	@tests/install_peers.sh

kill-test: $(VENV)/installed-dev peers  ## The long kill test; KILLS=200 by default
	KILLS=$(or $(KILLS),200) $(PYTEST) -m kill --timeout 3600 -s

bench-receive: $(VENV)/installed-dev peers  ## Receiving beside DCMTK, Orthanc and pynetdicom; BENCH="--repetitions 3", FOLDER=disk, WRITE=1
	$(BIN)/python tests/bench/receive_bench.py $(if $(FOLDER),--folder $(FOLDER)) $(if $(WRITE),--write) $(BENCH)

phantom-model: $(VENV)/installed-dev  ## Train the model that ships, from nothing, and score it: an hour or two on two cores
	$(BIN)/python -m workers.phantom.dataset var/phantom/films --films 6500
	OMP_NUM_THREADS=2 $(BIN)/python -m workers.training.run var/phantom/films var/phantom/run --preset phantom
	$(BIN)/python -m workers.phantom.score var/phantom/run/model

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): about 1 GB, a few minutes the first time."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(PIP) --quiet --editable '.[dev]'
	@touch $@

compose-check:  ## docker compose for real: a film in, one SR and one ORU out (needs Docker and DCMTK)
	@tests/system/compose_check.sh

clean:
	rm -rf $(VENV) var build *.egg-info
