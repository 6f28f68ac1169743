# What you can do here. `make demo` and `make test` need nothing but Python 3.11 or newer (with venv and pip).
.DEFAULT_GOAL := help
.PHONY: help demo test slow coverage check fix bench cost backlog flood worst fuzz search postgresql foreign corpora proofs model docs lock fresh clean

PYTHON ?= python3
# Servers and tests start often, and are compiled once.
unexport PYTHONDONTWRITEBYTECODE
# Servers write as they do elsewhere, where nobody has set this.
unexport PYTHONUNBUFFERED
BIN := .venv/bin
# Nothing is written outside the checkout, caches included.
CACHE := $(CURDIR)/.cache
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --cache-dir $(CACHE)/pip
PATIENTLY := scripts/patiently.sh
NPM := $(PATIENTLY) fetching npm ci --fetch-retries 1 --silent --ignore-scripts --no-audit --no-fund --cache $(CACHE)/npm --prefix

# Locked, hashed dependencies; the package itself is installed in place. Each set is installed once per lock.
RUN := .venv/installed-run
DEV := .venv/installed-dev
SUITE := .venv/botocore-sdist
SIMULATOR := .venv/iam-simulate
# Two workers more than there are cores, because tests wait for servers; up to four, because each starts servers of its own.
WORKERS := $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); [ $$n -lt 2 ] && echo 3 || echo 4)
AT_ONCE := --numprocesses $(WORKERS) --dist worksteal
SENDERS := .venv/senders
JUDGES := $(SUITE) $(SIMULATOR) $(SENDERS)

help: ## Show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(RUN) ## Show the main job with a real server and real clients
	@$(BIN)/waypost demo

test: $(DEV) $(JUDGES) ## Run the tests
	@echo "Running the tests; this takes some minutes on a slow machine"
	@$(BIN)/python -m pytest $(AT_ONCE) -m 'not slow'

slow: $(DEV) $(JUDGES) ## Run the slow tests: other mail programs, other users, faults, and the code blocks of the pages
	@$(BIN)/python -m pytest $(AT_ONCE) -m slow

# Whom we are compared with, fetched and not kept here: the protocol suite in botocore's source distribution, at
# the locked version and hash, and a simulator of IAM policies, which wants Node; without Node its test is skipped.
$(SUITE): requirements/dev.txt | $(DEV)
	@echo "Fetching botocore's protocol suite"
	@rm -rf $@ && mkdir -p $@
	@sed -n '/^botocore==/,/^ *# via/p' requirements/dev.txt > $@/requirements.txt
	@$(PATIENTLY) fetching $(PIP) download --require-hashes --no-deps --no-build-isolation --no-binary botocore --dest $@ \
		--requirement $@/requirements.txt
	@tar --extract --gzip --file $@/*.tar.gz --directory $@ --strip-components 3 --wildcards '*/protocols/*/rest-json.json'

$(SIMULATOR): $(wildcard tests/domain/iam/differential/package*.json) | $(DEV)
	@rm -rf $@ && mkdir -p $@ && cp tests/domain/iam/differential/package*.json $@
	@if command -v npm > /dev/null; then echo "Fetching the simulator of IAM policies"; \
		$(NPM) $@ || echo "npm could not fetch it: its test is skipped"; fi

# A mail client of the JavaScript world, which our users' software sends with.
$(SENDERS): $(wildcard tests/kit/mail_programs/package*.json) | $(DEV)
	@rm -rf $@ && mkdir -p $@ && cp tests/kit/mail_programs/package*.json $@
	@if command -v npm > /dev/null; then echo "Fetching nodemailer"; \
		$(NPM) $@ || echo "npm could not fetch it: its test is skipped"; fi

# The rules and the protocols have no excuse: every branch of them is tested.
PURE := $(addprefix waypost.,domain smtp.protocol delivery.smtp_client.protocol api.wire api.access store.sqlite.search store.postgres.search) \
	$(addprefix waypost.,api.operations.arns api.operations.page_tokens api.operations.searching cli.readable mailauth.message) \
	$(addprefix waypost.,delivery.outgoing delivery.queue.destinations smtp.limits.admission smtp.limits.memory smtp.server.proxy)

coverage: $(DEV) ## Check that every branch of the rules and protocols is tested
	@WAYPOST_EXAMPLES=1 $(BIN)/python -m pytest $(AT_ONCE) tests/domain tests/store tests/smtp tests/api tests/delivery \
		tests/mailauth/test_message.py tests/cli $(addprefix --cov=,$(PURE)) --cov-branch \
		--cov-report=term-missing:skip-covered --cov-fail-under=100

check: $(DEV) ## Lint, types, and the walls between the rooms
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fix: $(DEV) ## Format, and mend what the linter can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(DEV) ## Measure Waypost beside its peers, in one run (takes a few minutes)
	@$(BIN)/python bench/run.py

cost: $(DEV) ## Count the instructions of 200 messages and 200 calls (`BESIDE=COMMIT` counts that commit too; `KEEP=--keep`)
	@$(BIN)/python bench/cost.py $(if $(BESIDE),--beside $(BESIDE)) $(KEEP)

backlog: $(DEV) ## Measure mail beside 100,000 deliveries that wait for a destination that is dead
	@$(BIN)/python bench/backlog.py

flood: $(DEV) ## Measure what thousands of mail clients at once do to the server (takes a few minutes)
	@$(BIN)/python bench/flood.py

FUZZED := from subject message-id report results bdat canonical json addresses
fuzz: $(DEV) ## Fuzz the SMTP session and each parser (half an hour; SECONDS=600 for each parser; Linux, Python before 3.14)
	@$(PATIENTLY) installing scripts/install.sh requirements/fuzz.txt
	@$(BIN)/python fuzz/session.py -max_total_time=600 -max_len=1200 -timeout=20
	@$(BIN)/python fuzz/headers.py -max_total_time=$(or $(SECONDS),120) -max_len=1200 -timeout=20
	@for parser in $(FUZZED); do echo "Fuzzing $$parser"; \
		$(BIN)/python fuzz/parsers.py $$parser -max_total_time=$(or $(SECONDS),120) -max_len=1200 -timeout=20 || exit 1; done

worst: $(DEV) ## Measure the dearest input of each parser, and 45 hostile messages sent to a real server (three minutes)
	@$(BIN)/python bench/worst.py

postgresql: $(DEV) $(JUDGES) ## Run the tests of the edges with PostgreSQL behind them (a minute)
	@$(BIN)/python -m pytest -p tests.kit.stores.on_postgresql $(AT_ONCE) tests/api tests/e2e

foreign: $(DEV) $(JUDGES) ## Run clients, servers, SDKs and tests that others wrote beside Waypost (some minutes; as root for all of them)
	@foreign/fetch.sh
	@$(BIN)/python -m pytest foreign tests/e2e/mail/test_real_senders.py tests/e2e/mail/test_other_clients.py -p no:randomly -rs

corpora: $(DEV) ## Read public collections of mail, and compare with what others make of them (fetches them; a minute)
	@for corpus in scripts/corpora/[a-z]*.py; do $(BIN)/python -m "scripts.corpora.$$(basename $$corpus .py)" || exit 1; done

proofs: $(DEV) ## Prove what takes minutes: servers and databases that are killed under load, linearizability, properties
	@$(BIN)/python -m pytest proofs -s -p no:randomly
	@WAYPOST_ROUNDS=125 $(BIN)/python -m pytest tests/api/operations/test_concurrency.py
	@WAYPOST_EXAMPLES=10 $(BIN)/python -m pytest $(AT_ONCE) -m hypothesis

search: $(DEV) ## Measure searches in an instance of a million email addresses (takes a few minutes)
	@$(BIN)/python bench/search.py

model: $(DEV) ## Cut the model of the API and the table of partitions anew from what botocore publishes
	@$(BIN)/python scripts/cut_model.py

docs: $(DEV) ## Write the reference pages that are made from code
	@$(BIN)/python -m scripts.write_reference

# Extras are kept: without them, pip 23 and older take `coverage[toml]` for something that has no hash.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-strip-extras \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links
LOCK_WAYPOST := $(LOCK) pyproject.toml requirements/build.in

lock: $(DEV) ## Compile the locked dependencies anew (`make lock UPGRADE=--upgrade` takes the newest)
	@$(LOCK) $(UPGRADE) requirements/installer.in --output-file requirements/installer.txt
	@$(LOCK_WAYPOST) $(UPGRADE) --extra demo --output-file requirements/run.txt
	@$(LOCK_WAYPOST) $(UPGRADE) --extra demo --extra postgres --extra dev --constraint requirements/run.txt \
		--output-file requirements/dev.txt
	@$(LOCK_WAYPOST) $(UPGRADE) --extra fuzz --constraint requirements/run.txt --output-file requirements/fuzz.txt

fresh: ## Build from nothing under every Python here (3.11 to 3.13), in an empty HOME; run the README's commands
	@scripts/fresh.sh

clean: ## Remove everything that was made
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist waypost-data

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Waypost needs Python 3.11 or newer")'
	@echo "Making a virtual environment in .venv"
	@$(PYTHON) -m venv .venv

$(RUN): requirements/installer.txt requirements/run.txt pyproject.toml scripts/install.sh | .venv/bin/python
	@echo "Installing Waypost and its dependencies into .venv"
	@$(PATIENTLY) installing scripts/install.sh requirements/run.txt
	@touch $@

$(DEV): requirements/dev.txt $(RUN)
	@echo "Installing what the tests need into .venv"
	@$(PATIENTLY) installing scripts/install.sh requirements/dev.txt
	@touch $@
