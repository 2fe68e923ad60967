# Goalpost: `make run` and `make test` need Python 3.11+ and make; everything else goes into .venv.

VENV := .venv
PYTHON := $(VENV)/bin/python
# The first of these from 3.11 on makes the environment.
INTERPRETERS := python3 python3.14 python3.13 python3.12 python3.11
UV := $(or $(shell command -v uv 2>/dev/null),$(VENV)/bin/uv)
COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --quiet --universal --generate-hashes \
	--no-emit-index-url --no-emit-find-links --python-version 3.11

# Give uv the mirror and the certificates of pip's configuration, which uv does not read.
export UV_NATIVE_TLS ?= 1
INDEX := $(or $(PIP_INDEX_URL),$(shell python3 -m pip config get global.index-url 2>/dev/null))
ifneq ($(INDEX),)
export UV_DEFAULT_INDEX ?= $(INDEX)
endif
ifneq ($(PIP_CERT),)
export SSL_CERT_FILE ?= $(PIP_CERT)
endif

.DEFAULT_GOAL := help
.PHONY: help run test suite bench screenshots chaos mutants lint types promises fmt lock clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-11s %s\n", $$1, $$2 }'

run: $(VENV)/run.stamp ## start Goalpost with its own PostgreSQL and Valkey; Ctrl-C stops all of it; ARGS=--tls adds TLS for SDKs
	@exec $(PYTHON) manage.py up $(ARGS)

test: $(VENV)/test.stamp $(VENV)/node.stamp lint types suite ## run all checks, then the tests on real servers

suite: $(VENV)/test.stamp $(VENV)/node.stamp
	$(PYTHON) -m pytest -n auto --maxprocesses 8 --dist loadgroup $(ARGS)

bench: $(VENV)/test.stamp ## measure every figure and its yardstick in ten minutes (needs wrk); ARGS=--full takes longer, ARGS=--list lists them
	@exec $(PYTHON) -m tests.bench $(ARGS)

screenshots: $(VENV)/test.stamp $(VENV)/node.stamp ## save a picture of every page, wide and narrow, light and dark, in .build/screenshots
	@rm -rf .build/screenshots && mkdir -p .build/screenshots
	GOALPOST_SCREENSHOTS=$(CURDIR)/.build/screenshots $(PYTHON) -m pytest -q tests/browser/test_looks.py $(ARGS)

chaos: $(VENV)/test.stamp ## run all faults against a temporary Goalpost on the full scale, in half an hour
	$(PYTHON) -m tests.chaos $(ARGS)

mutants: $(VENV)/test.stamp .build/mutants/stamp ## change the pure modules bit by bit to find what no test notices; ARGS=goals/money.py for one
	PYTHONPATH=.build/mutants $(PYTHON) -m tests.mutants $(ARGS)

lint: $(VENV)/test.stamp ## check style, format, prose and the direction of imports
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/sqlfluff lint --disable-progress-bar goals
	$(PYTHON) -m tests.voice

types: $(VENV)/test.stamp ## check types with mypy, strict
	$(VENV)/bin/mypy api goals cohorts tests

promises: $(VENV)/test.stamp ## list each promise with the tests that prove it
	@$(PYTHON) -m pytest -q --promises

fmt: $(VENV)/test.stamp ## fix style and format where a program can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock: $(UV) ## write requirements*.txt from pyproject.toml, with hashes
	$(COMPILE) pyproject.toml -o requirements.txt $(ARGS)
	$(COMPILE) --group embedded -c requirements.txt -o requirements-embedded.txt $(ARGS)
	$(COMPILE) pyproject.toml --group dev -c requirements.txt -c requirements-embedded.txt -o requirements-dev.txt $(ARGS)
	$(COMPILE) --group mutants -c requirements-dev.txt -o requirements-mutants.txt $(ARGS)

clean: ## remove the environment and the caches, never the data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .build/mutants .build/migrated \
		tests/contract/node_modules

$(VENV)/run.stamp: requirements.txt requirements-embedded.txt | $(PYTHON) $(UV)
	$(UV) pip install --quiet --python $(PYTHON) --require-hashes -r requirements.txt -r requirements-embedded.txt
	@touch $@

$(VENV)/test.stamp: requirements-dev.txt tests/contract/segment-2.3.3.txt | $(PYTHON) $(UV)
	$(UV) pip install --quiet --python $(PYTHON) --require-hashes -r requirements-dev.txt
	$(UV) pip install --quiet --python $(PYTHON) --target $(VENV)/segment-2.3.3 --no-deps --require-hashes \
		-r tests/contract/segment-2.3.3.txt
	@touch $@

# A folder of its own, so that tests find only what the lists of the other targets install.
.build/mutants/stamp: requirements-mutants.txt | $(PYTHON) $(UV)
	@rm -rf $(@D)
	$(UV) pip install --quiet --python $(PYTHON) --target $(@D) --require-hashes -r requirements-mutants.txt
	@touch $@

# Without npm the tests that need these modules are skipped, except with CI=true.
$(VENV)/node.stamp: tests/contract/package-lock.json | $(PYTHON)
	@if command -v npm >/dev/null; then \
		npm ci --prefix tests/contract --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@; \
	fi

$(PYTHON):
	@for name in $(INTERPRETERS); do \
		$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && found=$$name && break; \
	done; \
	if [ -z "$$found" ]; then \
		echo "Goalpost needs Python 3.11 or newer; here is: $$(python3 --version 2>&1)" >&2; exit 1; \
	elif [ -x "$(filter-out $(VENV)/bin/uv,$(UV))" ]; then \
		"$(UV)" venv --quiet --python "$$found" $(VENV); \
	elif ! $$found -m venv $(VENV) >/dev/null 2>&1; then \
		rm -rf $(VENV); \
		echo "$$found cannot make a virtual environment with pip: install python3-venv (or uv), then try again" >&2; exit 1; \
	fi

$(VENV)/bin/uv: | $(PYTHON)
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m ensurepip >/dev/null  # made by a uv that is gone
	$(PYTHON) -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
