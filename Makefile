# make run is all a fresh machine needs; make help lists the rest.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help install run test check format demo bench chaos shell clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## the virtual environment with the pinned dependencies

$(STAMP): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "error: could not make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

run: $(STAMP) ## PostgreSQL, Redis, web and worker; PORT=3000 unless set; Ctrl-C ends everything
	@exec $(BIN)/python -m app.dev run

demo: $(STAMP) ## lively sample work for the running system; SECONDS=60 (0: until Ctrl-C)
	@exec $(BIN)/python -m app.dev demo --seconds $(or $(SECONDS),60)

test: $(STAMP) ## the whole suite on its own services; ARGS="-k word" narrows it
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: $(STAMP) ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy app/

format: $(STAMP) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## measure our program beside plain Huey, on fresh services with fsync; ARGS="drain"
	@exec $(BIN)/python -m app.dev services --fresh -- $(BIN)/python -m benchmarks $(ARGS)

chaos: $(STAMP) ## faults at random on a private system, then an audit of every job; ARGS="--minutes 20 --seed 7"
	$(BIN)/python -m benchmarks.chaos $(ARGS)

shell: $(STAMP) ## a Python shell in the application, on the development services
	@exec $(BIN)/python -m app.dev services -- $(BIN)/flask --app wsgi shell

clean: ## remove the virtual environment, the caches and all development data
	@if test -x $(BIN)/python; then $(BIN)/python -m app.dev clean; fi
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
