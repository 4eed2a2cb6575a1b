# make run is all a fresh machine needs; make help lists the rest.

VENV := .venv
BIN  := $(VENV)/bin

# The Python that .venv is made with: PYTHON=… names one, else the first of these that the project runs on.
PYTHONS  := $(BIN)/python python3 python3.13 python3.12 python3.11 python3.14 /usr/bin/python3
IS_GOOD  := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
# $(call bootstrap,ARGUMENTS): the step before the project's packages are there.
bootstrap = @for python in $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)); do \
	if "$$python" -c '$(IS_GOOD)' 2>/dev/null; then exec "$$python" app/dev/bootstrap.py $(1); fi; done; \
	echo "error: $(or $(PYTHON),python3) is not a Python from 3.11 to 3.14; name one: make $(firstword $(MAKECMDGOALS)) PYTHON=python3.13" >&2; exit 1

.DEFAULT_GOAL := help
.PHONY: help install ready-run ready-test ready-check run worker flask psql redis-cli logs schema test test-fast check format audit lock demo bench chaos shell clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ready-check ## everything for work on the project into .venv; PYTHON=python3.13 chooses the Python

ready-run:
	$(call bootstrap,install run --servers $(if $(PYTHON),--chosen))
ready-test:
	$(call bootstrap,install dev --servers $(if $(PYTHON),--chosen))
ready-check:
	$(call bootstrap,install dev $(if $(PYTHON),--chosen))

run: ready-run ## PostgreSQL, Redis, web and worker; PORT=3000 unless set; ONLY=web; Ctrl-C ends everything
	@exec $(BIN)/python -m app.dev run $(if $(ONLY),--only '$(ONLY)')

worker: ready-run ## one worker thread on this terminal, for breakpoint(); beside make run ONLY=web
	@exec $(BIN)/python -m app.dev worker

flask: ready-run ## a command of the application on the development services; ARGS="doctor"
	@exec $(BIN)/python -m app.dev services -- $(BIN)/flask --app wsgi $(ARGS)

psql: ready-run ## psql on the development database; ARGS="-c 'select count(*) from jobs'"
	@exec $(BIN)/python -m app.dev psql -- $(ARGS)

schema: ready-run ## migrations/schema.sql again, from the migrations
	@exec $(BIN)/python -m app.dev services --fresh -- $(BIN)/python -m app.dev.schema_file

redis-cli: ready-run ## commands to the development Redis; ARGS="dbsize"
	@exec $(BIN)/python -m app.dev redis-cli -- $(ARGS)

logs: ready-run ## a job of the development database: row, attempts, log; JOB=<id, or the start of one>
	@$(if $(JOB),,echo "error: name a job: make logs JOB=01a212c5" >&2; exit 2)
	@exec $(BIN)/python -m app.dev services -- $(BIN)/flask --app wsgi jobs show '$(JOB)'

demo: ready-run ## lively sample work for the running system; SECONDS=60 (0: until Ctrl-C)
	@exec $(BIN)/python -m app.dev demo --seconds $(or $(SECONDS),60)

test: ready-test ## the suite on its own services; PROCESSES=3; ARGS="-k word" narrows it, ARGS="-m long": the long tests
	@$(if $(ARGS),,echo "The suite takes about 5 minutes on two free cores; ARGS=\"-k word\" narrows it, ARGS=\"-m long\" runs the long tests.")
	$(BIN)/python -m pytest -n $(or $(PROCESSES),3) --dist worksteal $(ARGS)

test-fast: ready-test ## the pure tests: no services, no browser, seconds; ARGS="-k word"
	@$(BIN)/python -m pytest --fast -q -p no:schemathesis -p no:xdist -p no:cacheprovider $(ARGS)

check: ready-check ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy app/

format: ready-check ## apply what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

audit: ready-check ## known vulnerabilities of what is deployed; says so where no database can be asked
	@$(BIN)/python -m app.dev.audit

bench: ready-test ## measure our program beside plain Huey, on fresh services with fsync; ARGS="drain"
	@exec $(BIN)/python -m app.dev services --fresh -- $(BIN)/python -m benchmarks $(ARGS)

chaos: ready-test ## faults at random on a private system, then a verdict on every job; ARGS="--minutes 20 --seed 7"
	$(BIN)/python -m benchmarks.chaos $(ARGS)

shell: ready-run ## a Python shell in the application, on the development services
	@exec $(BIN)/python -m app.dev services -- $(BIN)/flask --app wsgi shell

lock: ready-check ## requirements*.txt from requirements*.in, with hashes; ARGS="--upgrade-package flask"
	@for set in "" -run -dev; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	    --custom-compile-command "make lock" $(ARGS) requirements$$set.in -o requirements$$set.txt || exit 1; \
	done

clean: ## remove the virtual environment, the caches and all development data
	$(call bootstrap,clean)
