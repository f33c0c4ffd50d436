# `make` or `make help` lists the commands. They need python3 (3.11 or later) and nothing else.

PYTHON ?= python3
# The versions of constraints.txt, or the lowest that pyproject.toml allows, or the newest there are.
RESOLUTION ?= pinned
ifeq ($(filter pinned lowest highest,$(RESOLUTION)),)
$(error RESOLUTION is pinned, lowest or highest, not $(RESOLUTION))
endif
VENV   := .venv$(patsubst %,-%,$(filter-out pinned,$(RESOLUTION)))
BIN    := $(VENV)/bin
WORKERS ?= 4
DESTINATION ?= duckdb

# The tests of the UI drive a system Chromium. CI must have one; elsewhere they are skipped without it.
BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
NO_UI   := $(if $(BROWSER)$(CI),,-m "not ui")

# The theme tells on each build of other software that its authors make.
QUIET_MKDOCS := NO_MKDOCS_2_WARNING=1

# Where it is set, each of the many processes that the tests start compiles all that it imports once more.
unexport PYTHONDONTWRITEBYTECODE

HOW_LONG := 'On two idle cores the tests take three to seven minutes; with ARGS=--thorough twenty to thirty-five.'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
BENCHES := bench bench-arrivals bench-corpora bench-crashes bench-destinations bench-faults bench-malformed
.PHONY: help demo dev dev-object test check docs format build constraints extras audit clean $(BENCHES)

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  PYTHON=python3.13 chooses another interpreter, ARGS=… goes to pytest or the bench,'
	@echo '  RESOLUTION=lowest the oldest versions that pyproject.toml allows, RESOLUTION=highest the newest.'

demo: $(VENV)/.demo ## load real Parquet from an S3 server, then one more object, then nothing; DESTINATION=…
	@$(BIN)/python -m demo.run --destination $(DESTINATION)

dev: $(VENV)/.demo ## open Dagster's UI on the demo's bucket, with the sensor running; DESTINATION=…
	@$(BIN)/python -m demo.dev --destination $(DESTINATION)

dev-object: $(VENV)/.demo ## put one more object into the bucket of a running `make dev`
	@$(BIN)/python -m demo.add

ifdef WHEEL
test: $(VENV)-wheel/.stamp build/tree/.stamp
	@echo $(HOW_LONG)
	cd build/tree && ../../$(VENV)-wheel/bin/python -c "$$IS_WHEEL"
	cd build/tree && ../../$(VENV)-wheel/bin/python -m pytest -n $(WORKERS) --dist worksteal $(NO_UI) $(ARGS)
else
test: $(VENV)/.dev ## run the tests, three to seven minutes; more with ARGS=--thorough; WHEEL=1 tests the wheel
	@echo $(HOW_LONG)
	$(if $(NO_UI),@echo 'No Chromium found: the tests that drive a browser are left out.')
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(NO_UI) $(ARGS)
endif

check: $(VENV)/.dev ## check format, lint, types, architecture, and that the documentation builds
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(QUIET_MKDOCS) $(BIN)/mkdocs build --strict --quiet

docs: $(VENV)/.dev ## build the documentation's site into site/, strictly; ARGS=serve serves it
	$(QUIET_MKDOCS) $(BIN)/mkdocs $(or $(ARGS),build --strict)

format: $(VENV)/.dev ## format the code, and mend what ruff can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

build: $(VENV)/.dev ## build the source archive and from it the wheel, into dist/
	rm -rf dist
	$(PINS) $(BIN)/python -m build

constraints: $(BIN)/python ## choose the versions in constraints.txt anew; UPGRADE= adds only what is missing
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	printf 'hatchling\nuv\n' | $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 \
	    --all-extras $(UPGRADE) --no-annotate --custom-compile-command 'make constraints' \
	    --output-file constraints.txt pyproject.toml - >/dev/null

extras: $(VENV)/.dev ## install the wheel in dist/ with each extra alone, and import its IO manager
	@$(BIN)/python -m s3pq_dagster_tests.extras

audit: $(VENV)/.dev ## look for known vulnerabilities in the versions of constraints.txt
	@$(PINS) $(BIN)/python -m uv tool run --quiet pip-audit --strict --progress-spinner off \
	    --disable-pip --no-deps --requirement constraints.txt

# The measurements of docs/guarantees.md. Each prints a table and fails if a promise does not hold.

bench: $(VENV)/.dev ## time this package against alternatives; ARGS="--work small-0ms --times 1"
	$(BIN)/python -m bench $(ARGS)

bench-arrivals: $(VENV)/.dev ## play a day of 5,000 objects in each write mode, and other tools' rules on the same day
	$(BIN)/python -m bench.arrivals $(ARGS)

bench-corpora: $(VENV)/.dev ## load corpora of Parquet files, and compare all values; ARGS="--corpus DIR --corpus DIR"
	$(BIN)/python -m bench.corpora $(ARGS)

bench-crashes: $(VENV)/.dev ## kill runs at every step and at 200 random moments; ARGS="--destination delta"
	$(BIN)/python -m bench.crashes $(ARGS)

bench-destinations: $(VENV)/.dev ## time each destination beside its own fastest loader, 8,000,000 rows
	$(BIN)/python -m bench.destinations $(ARGS)

bench-faults: $(VENV)/.dev ## break S3 in every way, at every stage, at 1, 20 and 100 per cent of requests
	$(BIN)/python -m bench.faults $(ARGS)

bench-malformed: $(VENV)/.dev ## read 10,000 mutated files; ARGS="--corpus DIR" adds files of yours
	$(BIN)/python -m bench.malformed $(ARGS)

clean: ## remove everything these commands made
	rm -rf .venv .venv-* build dist site .demo .bench
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call install,ENVIRONMENT,WHAT): uv takes a tenth of pip's time. It does not read pip's settings (a mirror, say):
# where it finds no packages, pip installs them. Either takes the versions of constraints.txt, for what builds a
# package as well; pip knows no lowest versions.

UPGRADE ?= --upgrade
LIMITS  := $(addsuffix =constraints.txt,PIP_CONSTRAINT PIP_BUILD_CONSTRAINT UV_CONSTRAINT UV_BUILD_CONSTRAINT)
PINS    := $(if $(filter pinned,$(RESOLUTION)),$(LIMITS))
LOWEST  := $(if $(filter lowest,$(RESOLUTION)),--resolution lowest-direct)
AFRESH  := $(if $(PINS),,--upgrade)

define install
	@echo 'installing $(2) into $(1) …'
	@$(PINS) $(1)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(PINS) $(1)/bin/python -m uv pip install --quiet --python $(1)/bin/python $(AFRESH) $(LOWEST) $(2) $(if $(LOWEST),,\
	|| $(PINS) $(1)/bin/python -m pip install --disable-pip-version-check $(AFRESH) $(2))
endef

# One environment in two stages: first what `demo` needs, then everything.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; this is " + sys.version + "; choose with PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,$(VENV),--editable '.[demo]')
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,$(VENV),--editable '.[$(if $(LOWEST),test,dev)]')
	@touch $(VENV)/.demo $@

# The wheel is installed in its own environment, and its tests run where they cannot import the checkout.

define IS_WHEEL
import s3pq_dagster
assert "$(VENV)-wheel/" in s3pq_dagster.__file__, s3pq_dagster.__file__
print("testing", s3pq_dagster.__file__)
endef
export IS_WHEEL

$(VENV)-wheel/.stamp: $(wildcard dist/*.whl) | constraints.txt
	@test -n "$^" || { echo 'no wheel in dist/: make build'; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)-wheel
	$(call install,$(VENV)-wheel,'$^[test]')
	@touch $@

build/tree/.stamp: $(wildcard dist/*.tar.gz)
	rm -rf build/tree
	mkdir -p build/tree
	tar -xzf $^ -C build/tree --strip-components=1
	rm -r build/tree/s3pq_dagster
	test ! -d .github || cp -R .github build/tree # not in the archive; tests look at the workflows
	@touch $@
