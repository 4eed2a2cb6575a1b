# `make run` starts everything on a fresh machine; `make help` lists the other targets.

VENV := .venv
BIN  := $(VENV)/bin

# The Python for .venv: PYTHON=…, or the first of these with a supported version.
PYTHONS  := $(BIN)/python python3 python3.13 python3.12 python3.11 python3.14 /usr/bin/python3
IS_GOOD  := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
# $(call bootstrap,ARGUMENTS): runs before the project's packages are installed.
bootstrap = @for python in $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)); do \
	if "$$python" -c '$(IS_GOOD)' 2>/dev/null; then exec "$$python" app/dev/bootstrap.py $(1); fi; done; \
	echo "error: $(or $(PYTHON),python3) is not a Python from 3.11 to 3.14; choose one with: make $(firstword $(MAKECMDGOALS)) PYTHON=python3.13" >&2; exit 1

.DEFAULT_GOAL := help
.PHONY: help install ready-run ready-test ready-check run worker flask psql redis-cli logs schema test test-fast check format audit lock demo bench chaos shell clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ready-check ## install everything for development into .venv; PYTHON=python3.13 selects the Python

ready-run:
	$(call bootstrap,install run --servers $(if $(PYTHON),--chosen))
ready-test:
	$(call bootstrap,install dev --servers $(if $(PYTHON),--chosen))
ready-check:
	$(call bootstrap,install dev $(if $(PYTHON),--chosen))

run: ready-run ## start PostgreSQL, Redis, web and worker; PORT=3000 by default; ONLY=web; Ctrl-C stops everything
	@exec $(BIN)/python -m app.dev run $(if $(ONLY),--only '$(ONLY)')

worker: ready-run ## start one worker thread on this terminal, for breakpoint(); use with make run ONLY=web
	@exec $(BIN)/python -m app.dev worker

flask: ready-run ## run a flask command on the development services; ARGS="doctor"
	@exec $(BIN)/python -m app.dev services -- $(BIN)/flask --app wsgi $(ARGS)

psql: ready-run ## open psql on the development database; ARGS="-c 'select count(*) from jobs'"
	@exec $(BIN)/python -m app.dev psql -- $(ARGS)

schema: ready-run ## regenerate migrations/schema.sql from the migrations
	@exec $(BIN)/python -m app.dev services --fresh -- $(BIN)/python -m app.dev.schema_file

redis-cli: ready-run ## send commands to the development Redis; ARGS="dbsize"
	@exec $(BIN)/python -m app.dev redis-cli -- $(ARGS)

logs: ready-run ## show a job of the development database: row, attempts, log; JOB=<id or start of id>
	@$(if $(JOB),,echo "error: JOB is missing: make logs JOB=01a212c5" >&2; exit 2)
	@exec $(BIN)/python -m app.dev services -- $(BIN)/flask --app wsgi jobs show '$(JOB)'

demo: ready-run ## create sample jobs in the running system; SECONDS=60 (0: until Ctrl-C)
	@exec $(BIN)/python -m app.dev demo --seconds $(or $(SECONDS),60)

test: ready-test ## run all tests on their own services; PROCESSES=3; ARGS="-k word" selects tests, ARGS="-m long" runs the long ones
	@$(if $(ARGS),,echo "All tests take about 5 minutes on two free cores; ARGS=\"-k word\" selects tests, ARGS=\"-m long\" runs the long tests.")
	$(BIN)/python -m pytest -n $(or $(PROCESSES),3) --dist worksteal $(ARGS)

test-fast: ready-test ## run the pure tests (seconds; no services, no browser); ARGS="-k word"
	@$(BIN)/python -m pytest --fast -q -p no:schemathesis -p no:xdist -p no:cacheprovider $(ARGS)

check: ready-check ## check lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy app/

format: ready-check ## format the code and fix lint errors that ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

audit: ready-check ## look up known vulnerabilities of the deployed packages; skipped without access to the database
	@$(BIN)/python -m app.dev.audit

bench: ready-test ## run benchmarks, compared with plain Huey, on fresh services with fsync; ARGS="drain"
	@exec $(BIN)/python -m app.dev services --fresh -- $(BIN)/python -m benchmarks $(ARGS)

chaos: ready-test ## inject random faults into a private system, then check every job; ARGS="--minutes 20 --seed 7"
	$(BIN)/python -m benchmarks.chaos $(ARGS)

shell: ready-run ## open a Python shell in the application, on the development services
	@exec $(BIN)/python -m app.dev services -- $(BIN)/flask --app wsgi shell

lock: ready-check ## regenerate requirements*.txt from requirements*.in, with hashes; ARGS="--upgrade-package flask"
	@for set in "" -run -dev; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	    --custom-compile-command "make lock" $(ARGS) requirements$$set.in -o requirements$$set.txt || exit 1; \
	done

clean: ## remove the virtual environment, the caches and all development data
	$(call bootstrap,clean)
