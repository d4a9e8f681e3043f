# Two commands set everything up on a bare machine: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test lint peers bench-receive bench-idle bench-hl7 bench-past bench-draft kill-test power-cut outages attack fuzz validate conformance phantom-model compose-check clean

demo: $(VENV)/installed  ## One synthetic film through a whole node; KEEP=1 keeps it running
	@$(BIN)/dicom-node demo $(if $(KEEP),--keep)

test: lint peers  ## Everything CI runs, in two processes: system tests mostly wait
	OMP_NUM_THREADS=1 $(PYTEST) --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 25

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

peers: $(VENV)/installed-dev  ## Foreign peers and validators the tests talk to
	@tests/install_peers.sh

kill-test: $(VENV)/installed-dev peers  ## The long kill test; KILLS=200 by default
	KILLS=$(or $(KILLS),200) $(PYTEST) -m kill --timeout 3600 -s

power-cut: $(VENV)/installed-dev peers  ## The power fails while objects come in; CUTS=500 by default, for each database
	CUTS=$(or $(CUTS),500) $(PYTEST) tests/system/test_power_cut.py -s

outages: $(VENV)/installed-dev peers  ## PostgreSQL away for a minute (OUTAGE_S=60), the clock set, the disk filled
	OUTAGE_S=$(or $(OUTAGE_S),60) $(PYTEST) tests/system/test_outages.py tests/system/test_disk_full.py

attack: $(VENV)/installed-dev  ## All that strangers can do to the port, and what others get meanwhile; wants a quiet machine
	ATTACK=long $(PYTEST) tests/system/test_attack.py -s

fuzz: $(VENV)/installed-dev  ## RUNS=10000000 mutated PDUs and data sets; goes on where it was stopped
	$(BIN)/python tests/fuzz/run.py $(if $(RUNS),--runs $(RUNS)) $(FUZZ)

validate: $(VENV)/installed-dev peers  ## Every kind of object before every validator, half an hour; writes deploy/validation.md
	$(BIN)/python tests/validate/run.py

bench-idle: $(VENV)/installed-dev  ## What idle associations take, and how many begin in a second
	$(BIN)/python tests/bench/idle_bench.py

bench-hl7: $(VENV)/installed-dev  ## How many orders a second the HL7 port takes, each committed before its AA
	$(BIN)/python tests/bench/hl7_bench.py

bench-past: $(VENV)/installed-dev  ## Whether a node with years behind it answers as fast as on its first day
	$(BIN)/python tests/bench/past_bench.py

bench-draft: $(VENV)/installed-dev  ## How fast an NVIDIA card drafts with a model of the published size, beside transformers
	$(BIN)/python tests/bench/draft_bench.py

bench-receive: $(VENV)/installed-dev peers  ## Receiving beside DCMTK, Orthanc and pynetdicom; BENCH="--repetitions 3", FOLDER=disk, WRITE=1
	$(BIN)/python tests/bench/receive_bench.py $(if $(FOLDER),--folder $(FOLDER)) $(if $(WRITE),--write) $(BENCH)

conformance: $(VENV)/installed  ## deploy/conformance.md anew, from the code and the default settings
	cd "$$(mktemp -d)" && env --ignore-environment $(CURDIR)/$(BIN)/dicom-node conformance --output $(CURDIR)/deploy/conformance.md

phantom-model: $(VENV)/installed-dev  ## Train the model that ships, from nothing, and score it: about an hour on two cores
	$(BIN)/python -m workers.phantom.dataset var/phantom/films --films 13000
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

compose-check:  ## docker compose for real: films in, one SR and one ORU of each out; KILL=1 lets each service die meanwhile
	@$$(test -x $(BIN)/python && echo $(BIN)/python || echo $(PYTHON)) tests/deploy/compose_check.py $(if $(KILL),--kill)

clean:
	rm -rf $(VENV) var build *.egg-info
