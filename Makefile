# `make` lists the targets. `make demo` and `make test` need only Python 3.11 or newer (with venv and pip).
.DEFAULT_GOAL := help
.PHONY: help demo cli quick test slow browser screenshots coverage check fix bench cost backlog sessions flood kit scrape worst fuzz copy search growth migrations postgresql workers foreign corpora proofs machines soak model docs docs-site tutorial lock package sbom lint image installs fresh clean faults

PYTHON ?= python3
# Servers and tests start often, so compile them only once.
unexport PYTHONDONTWRITEBYTECODE
# Run test servers as users do, without this variable.
unexport PYTHONUNBUFFERED
BIN := .venv/bin
# All caches are in the checkout, so that `make` writes nothing outside of it.
CACHE := $(CURDIR)/.cache
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --cache-dir $(CACHE)/pip
PATIENTLY := scripts/patiently.sh
NPM := $(PATIENTLY) fetching npm ci --fetch-retries 1 --silent --ignore-scripts --no-audit --no-fund --cache $(CACHE)/npm --prefix

# The locked dependencies with their hashes. The package itself is installed in place. Each set is installed again only
# when its lock file changes.
RUN := .venv/installed-run
DEV := .venv/installed-dev
SUITE := .venv/botocore-sdist
SIMULATOR := .venv/iam-simulate
# One or two workers more than cores, because tests often wait for servers; at most four, because each worker starts
# servers.
WORKERS := $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); [ $$n -lt 2 ] && echo 3 || echo 4)
AT_ONCE := --numprocesses $(WORKERS) --dist worksteal
SENDERS := .venv/senders
AXE := .venv/axe
# The tools for packages, and the dependencies of an installed server alone, are each in an environment of their own.
RELEASE := .venv/release
SERVER := .venv/server
SITE_TOOLS := .venv/installed-docs
MERMAID := .venv/mermaid
# `QUICKLY=yes` leaves out the longest of the slow tests and the browser tests.
NOT_LONG := $(if $(QUICKLY), and not long)
JAVASCRIPT := .venv/javascript
JUDGES := $(SUITE) $(SIMULATOR) $(SENDERS)

help: ## Show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(RUN) ## Demonstrate an alias with a real server and real clients
	@$(BIN)/waypost demo

cli: $(DEV) ## Install the AWS CLI and the dependencies of the tests into .venv
	@$(BIN)/aws --version

# Tests of rules, protocols and settings. A test fails here if it starts a process or uses a socket
# (tests/kit/alone.py).
ISOLATED := $(addprefix tests/,domain app config observe smtp/protocol delivery/smtp_client/protocol delivery/test_outgoing.py) \
	$(addprefix tests/,delivery/queue/test_destinations.py mailauth/test_message.py api/operations/test_arns.py) \
	$(addprefix tests/,mime/test_reading.py mime/test_safe_html.py) \
	--ignore tests/domain/iam/differential
quick: $(DEV) ## Run the tests that need no process, no network and no database (seconds)
	@WAYPOST_EXAMPLES=0.01 $(BIN)/python -m pytest -p tests.kit.alone --numprocesses 2 --dist worksteal -m 'not slow' $(ISOLATED)

test: $(DEV) $(JUDGES) ## Run the tests
	@echo "Running the tests; this takes some minutes on a slow machine"
	@$(BIN)/python -m pytest $(AT_ONCE) --ignore tests/browser -m 'not slow'

slow: $(DEV) $(JUDGES) $(JAVASCRIPT) $(if $(QUICKLY),,$(RELEASE) $(SITE_TOOLS)) ## Run the slow tests: other mail programs, other users, faults, time limits, asyncio, and the code blocks of the pages
	@$(BIN)/python -m pytest $(AT_ONCE) --ignore tests/browser -m 'slow$(NOT_LONG)'

browser: $(DEV) $(AXE) $(if $(QUICKLY),,$(SITE_TOOLS) $(MERMAID)) ## Test the console in Chromium (some minutes; Debian's package `chromium`; `ALL=yes`: all hostile mail)
	@WAYPOST_ALL_MAIL=$(ALL) $(BIN)/python -m pytest --numprocesses 2 --dist loadscope -m 'browser$(NOT_LONG)' -rs tests/browser

screenshots: $(DEV) ## Take the screenshots of the console in docs/images/console (a minute)
	@WAYPOST_SCREENSHOTS=$(CURDIR)/docs/images/console $(BIN)/python -m pytest -m browser -k picture -rs tests/browser

# axe-core finds faults of accessibility.
$(AXE): $(wildcard tests/browser/axe/package*.json) | $(DEV)
	@rm -rf $@ && mkdir -p $@ && cp tests/browser/axe/package*.json $@
	@if command -v npm > /dev/null; then echo "Fetching axe-core"; \
		$(NPM) $@ || echo "npm could not fetch it: its tests are skipped"; fi

# Tests compare Waypost's answers with these programs, which are downloaded and not part of the repository: the protocol
# test suite in botocore's source distribution, at the locked version and hash, and a simulator of IAM policies. The
# simulator needs Node. Without Node its test is skipped.
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

# nodemailer is the mail client that most JavaScript programs use.
$(SENDERS): $(wildcard tests/kit/mail_programs/package*.json) | $(DEV)
	@rm -rf $@ && mkdir -p $@ && cp tests/kit/mail_programs/package*.json $@
	@if command -v npm > /dev/null; then echo "Fetching nodemailer"; \
		$(NPM) $@ || echo "npm could not fetch it: its test is skipped"; fi

# The tests of clients/js need the AWS SDK, a mail client and Jest.
$(JAVASCRIPT): $(wildcard clients/js/tests/package*.json) | $(DEV)
	@rm -rf $@ && mkdir -p $@ && cp clients/js/tests/package*.json $@
	@if command -v npm > /dev/null; then echo "Fetching the AWS SDK for JavaScript, nodemailer and Jest"; \
		$(NPM) $@ || echo "npm could not fetch them: the tests of clients/js are skipped"; fi

# `make coverage` checks that the tests run every branch of these modules, which contain the rules and protocols.
PURE := $(addprefix waypost.,domain smtp.protocol delivery.smtp_client.protocol api.wire api.access store.sqlite.search store.postgres.search) \
	$(addprefix waypost.,api.operations.arns api.operations.page_tokens api.operations.searching cli.readable mailauth.message) \
	$(addprefix waypost.,delivery.outgoing delivery.queue.destinations smtp.limits.admission smtp.limits.memory smtp.server.proxy) \
	$(addprefix waypost.mime.,cleaning fields html_text links message names nesting reading safe_html structure style)

coverage: $(DEV) ## Check that every branch of the rules and protocols is tested
	@WAYPOST_EXAMPLES=1 $(BIN)/python -m pytest $(AT_ONCE) tests/domain tests/store tests/smtp tests/api tests/delivery \
		tests/mailauth/test_message.py tests/mime/test_reading.py tests/mime/test_safe_html.py tests/cli $(addprefix --cov=,$(PURE)) --cov-branch \
		--cov-report=term-missing:skip-covered --cov-fail-under=100

check: $(DEV) ## Check style, types, and what each room imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fix: $(DEV) ## Format, and correct what the linter can correct
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(DEV) ## Compare with other mail servers and moto (25 minutes; `QUICK=--quick`: 3 minutes; `KEEP=--keep` writes docs/)
	@$(PATIENTLY) fetching bench/fetch.sh
	@$(BIN)/python bench/run.py $(QUICK) $(KEEP)

cost: $(DEV) ## Count the instructions of 200 messages and 200 calls (`BESIDE=COMMIT` compares with a commit; `KEEP=--keep`)
	@$(BIN)/python bench/cost.py $(if $(BESIDE),--beside $(BESIDE)) $(KEEP)

backlog: $(DEV) ## Measure mail while 100,000 deliveries wait for a destination that is down
	@$(BIN)/python bench/backlog.py

sessions: $(DEV) ## Measure one and two worker processes with 20, 200 and 400 clients at once (ten minutes)
	@$(BIN)/python bench/sessions.py

flood: $(DEV) ## Measure the server under thousands of mail clients (a few minutes)
	@$(BIN)/python bench/flood.py

kit: $(DEV) ## Measure the start of the test kit, and a reset with 1,000 messages (a minute)
	@$(BIN)/python bench/kit.py

scrape: $(DEV) ## Measure how long Prometheus waits for the metrics of a server under load (half a minute)
	@$(BIN)/python bench/scrape.py

fuzz: $(DEV) ## Fuzz the SMTP session and each parser (half an hour; `LONG=1`: hours, until nothing new is found; Linux, Python before 3.14)
	@$(PATIENTLY) installing scripts/install.sh requirements/fuzz.txt
	@$(BIN)/python fuzz/run.py $(if $(LONG),--long --slice 300 --least 1800)

worst: $(DEV) ## Measure the slowest input of each parser, and hostile messages sent to a real server (three minutes)
	@$(BIN)/python bench/worst.py

postgresql: $(DEV) $(JUDGES) ## Run the tests of the edges on PostgreSQL (a minute)
	@$(BIN)/python -m pytest -p tests.kit.stores.on_postgresql $(AT_ONCE) tests/api tests/e2e

workers: $(DEV) $(JUDGES) ## Run the tests of the edges on servers with two worker processes (some minutes)
	@$(BIN)/python -m pytest -p tests.kit.servers.with_two_workers $(AT_ONCE) tests/api tests/e2e

foreign: $(DEV) $(JUDGES) ## Test with clients, servers and SDKs from other projects (some minutes; some need root)
	@foreign/fetch.sh
	@$(BIN)/python -m pytest foreign tests/e2e/mail/test_real_senders.py tests/e2e/mail/test_other_clients.py -p no:randomly -rs

corpora: $(DEV) ## Download and parse public collections of mail, and compare with other parsers (a minute)
	@for corpus in scripts/corpora/[a-z]*.py; do $(BIN)/python -m "scripts.corpora.$$(basename $$corpus .py)" || exit 1; done

# The previous version, which the proof of a rolling upgrade runs beside this one. The changelog names its commit.
PREVIOUS := .venv/previous
$(PREVIOUS): scripts/previous.sh | $(DEV)
	@echo "Installing the previous version of Waypost into $@"
	@$(PATIENTLY) installing scripts/previous.sh $@ 51f8fd69

proofs: $(DEV) $(PREVIOUS) ## Run the long proofs: kills under load, linearizability, properties with many examples
	@$(BIN)/python -m pytest proofs -s -p no:randomly --ignore proofs/test_machines.py
	@WAYPOST_ROUNDS=125 $(BIN)/python -m pytest tests/api/operations/test_concurrency.py
	@WAYPOST_EXAMPLES=10 $(BIN)/python -m pytest $(AT_ONCE) -m hypothesis

machines: $(DEV) ## Two servers, PgBouncer and PostgreSQL are killed and restarted under load for ten minutes (`MINUTES=2`)
	@WAYPOST_MINUTES=$(MINUTES) $(BIN)/python -m pytest proofs/test_machines.py -s -p no:randomly

SOAK := .cache/soak
soak: $(DEV) ## Run a server under mixed load with faults, and check that nothing grows (an hour; `MINUTES=2`)
	@$(BIN)/python -m faults.soak --minutes $(or $(MINUTES),60) --keep $(SOAK)

# Without LONG, there is a fault of every kind, and the simulation runs for a minute. With it, there are at least 50 of each
# kind. Campaigns and broken builds continue where the last run stopped; remove the files in FAULTS to begin again. The
# report is written even if a program finds something wrong.
FAULTS := .cache/campaign
faults: $(DEV) ## Inject faults into real servers, and find broken builds (under fifteen minutes; `LONG=1`: hours, and docs/)
	@status=0; \
	$(BIN)/python -m faults.campaign --results $(FAULTS)/faults.jsonl --keep $(FAULTS)/kept \
		$(if $(LONG),--each-kind 50 --minutes 600,--each-kind 1 --minutes 8) || status=1; \
	$(BIN)/python -m faults.broken --results $(FAULTS)/broken.jsonl \
		$(if $(LONG),,--minutes 2 --only group-told-success body-after-commit claim-without-fence) || status=1; \
	$(BIN)/python -m faults.simulation --results $(FAULTS)/simulation.json \
		$(if $(LONG),--seeds 9000 --resume,--seeds 100000 --minutes 1) || status=1; \
	$(BIN)/python -m faults.report $(FAULTS)/faults.jsonl --broken $(FAULTS)/broken.jsonl \
		--simulation $(FAULTS)/simulation.json --soak $(SOAK) --fuzzing fuzz/results.json \
		$(if $(LONG),,--to $(FAULTS)/report.md) || status=1; \
	exit $$status

copy: $(DEV) ## Measure `waypost copy` with a million email addresses, in both directions (half an hour)
	@$(BIN)/python bench/moving.py

search: $(DEV) ## Measure searches in an instance with a million email addresses (a few minutes)
	@$(BIN)/python bench/search.py

migrations: $(DEV) ## Measure how long a client of PostgreSQL waits during migrations of a million messages (some minutes)
	@$(BIN)/python bench/migrations.py

growth: $(DEV) ## Measure operations with a thousand to a million email addresses and messages (half an hour; `KEEP=--keep`)
	@$(BIN)/python bench/growth.py $(KEEP)

model: $(DEV) ## Generate the model of the API and the table of partitions from botocore
	@$(BIN)/python scripts/cut_model.py

docs: $(DEV) ## Generate the reference pages from the code
	@$(BIN)/python -m scripts.write_reference

tutorial: $(DEV) ## Follow the tutorial in a new virtual environment, and print the time of each step (two minutes)
	@PIP_CACHE_DIR=$(CACHE)/pip PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m scripts.follow_tutorial --python $(PYTHON)

SITE := site
docs-site: $(SITE_TOOLS) $(MERMAID) ## Build the documentation as a site in the folder `site` (`SITE=FOLDER`: another folder)
	@$(BIN)/python -m scripts.docs_site.build --to $(SITE)

# mermaid draws the diagrams of two pages in the reader's browser.
$(MERMAID): $(wildcard scripts/docs_site/package*.json) | $(DEV)
	@rm -rf $@ && mkdir -p $@ && cp scripts/docs_site/package*.json $@
	@if command -v npm > /dev/null; then echo "Fetching mermaid"; \
		$(NPM) $@ || echo "npm could not fetch it: the site shows the text of diagrams"; fi

# Keep the extras in the lock files, because pip 23 and older would otherwise report that `coverage[toml]` has no hash.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-strip-extras \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links
LOCK_WAYPOST := $(LOCK) pyproject.toml requirements/build.in

lock: $(DEV) ## Compile the lock files again (`make lock UPGRADE=--upgrade` upgrades the dependencies)
	@$(LOCK) $(UPGRADE) requirements/installer.in --output-file requirements/installer.txt
	@$(LOCK_WAYPOST) $(UPGRADE) --extra demo --output-file requirements/run.txt
	@$(LOCK_WAYPOST) $(UPGRADE) $(addprefix --extra ,demo postgres otel testcontainers dev) --constraint requirements/run.txt \
		--output-file requirements/dev.txt
	@$(LOCK) $(UPGRADE) requirements/sdists.in --constraint requirements/run.txt --output-file requirements/sdists.txt
	@$(LOCK) $(UPGRADE) pyproject.toml --extra postgres --constraint requirements/run.txt --output-file requirements/server.txt
	@$(LOCK) $(UPGRADE) pyproject.toml --extra release --constraint requirements/dev.txt --output-file requirements/release.txt
	@$(LOCK) $(UPGRADE) requirements/docs.in --constraint requirements/dev.txt --output-file requirements/docs.txt
	@$(LOCK_WAYPOST) $(UPGRADE) --extra fuzz --constraint requirements/run.txt --output-file requirements/fuzz.txt

$(RELEASE): requirements/release.txt | $(DEV)
	@echo "Installing the tools for packages into $@"
	@$(PATIENTLY) installing scripts/environment.sh $@ requirements/release.txt

$(SERVER): requirements/server.txt | $(DEV)
	@echo "Installing the dependencies of a server into $@"
	@$(PATIENTLY) installing scripts/environment.sh $@ requirements/server.txt

# With the time of the last commit in the archives, two builds of a commit are equal.
EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || date +%s)

package: $(RELEASE) ## Build the wheel and the source distribution in dist, and check them
	@rm -rf dist
	@SOURCE_DATE_EPOCH=$(EPOCH) $(BIN)/uv build --quiet --no-build-isolation --out-dir dist
	@$(RELEASE)/bin/twine check --strict dist/*.whl dist/*.tar.gz

sbom: $(RELEASE) $(SERVER) ## Write the list of the dependencies (CycloneDX) and of their licences to dist
	@mkdir -p dist
	@$(RELEASE)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-file dist/waypost.cdx.json $(SERVER)/bin/python
	@$(BIN)/python -m scripts.licences $(SERVER)/bin/python | tee dist/licences.txt

lint: $(RELEASE) ## Check the Containerfile, the files of Compose and Kubernetes, and the workflow of the public forge
	@$(RELEASE)/bin/hadolint Containerfile
	@$(RELEASE)/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose/compose.yaml
	@$(RELEASE)/bin/kubernetes-validate --strict --quiet $(wildcard deploy/kubernetes/*.yaml deploy/kubernetes/examples/*.yaml)
	@$(RELEASE)/bin/zizmor --offline --no-progress --quiet --pedantic .github

image: package ## Build the container image with buildah, and check it (`BASE=IMAGE` sets the base image)
	@scripts/image.sh

installs: package ## Install the wheel with each Python installed here (3.11 to 3.14), and send a message (some minutes)
	@$(BIN)/python -m scripts.check_install

fresh: ## Build in an empty HOME with each Python installed here (3.11 to 3.14), and run the README's commands
	@scripts/fresh.sh

clean: ## Remove everything that `make` has created
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist site waypost-data

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Waypost needs Python 3.11 or newer")'
	@echo "Creating a virtual environment in .venv"
	@$(PYTHON) -m venv .venv

$(RUN): requirements/installer.txt requirements/run.txt pyproject.toml scripts/install.sh | .venv/bin/python
	@echo "Installing Waypost and its dependencies into .venv"
	@$(PATIENTLY) installing scripts/install.sh requirements/run.txt
	@touch $@

$(DEV): requirements/dev.txt $(RUN)
	@echo "Installing the dependencies of the tests into .venv"
	@$(PATIENTLY) installing scripts/install.sh requirements/dev.txt
	@touch $@

# The site needs them, and no other target does.
$(SITE_TOOLS): requirements/docs.txt $(DEV)
	@echo "Installing the dependencies of the documentation site into .venv"
	@$(PATIENTLY) installing scripts/install.sh requirements/docs.txt
	@touch $@
