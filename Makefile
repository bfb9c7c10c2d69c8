# Two commands do all the set-up: `make demo` and `make test`. The others are for who changes the code.
# Needs python3 (3.11 or newer) with venv, and git; tools/setup names what is missing.

BIN := .venv/bin
PURE := api facts plan preflight trust placement
COVERAGE_MIN := 90
comma := ,
empty :=
space := $(empty) $(empty)
PURE_FILES := $(subst $(space),$(comma),$(foreach room,$(PURE),controller/$(room)/*))
PYTEST_ARGS ?= -n auto --dist worksteal
LINTED := controller tests benchmarks tools

.PHONY: help demo test lint pytest generate bench screenshot lock clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo        run an example from spec to verified provenance, in build/demo'
	@echo 'make test        lint, type check, run every test'
	@echo 'make lint        ruff, mypy, import contracts'
	@echo 'make generate    write crds/, schemas/ and docs/cli.md again from the code'
	@echo 'make bench       print us beside the peers and the floor'
	@echo 'make screenshot  write docs/demo.svg again from a real run'
	@echo 'make lock        resolve requirements/*.txt again from pyproject.toml'
	@echo 'make clean       remove what the above made, .venv included'

.venv/.runtime: tools/setup requirements/runtime.txt pyproject.toml
	@tools/setup runtime

# The dev lock holds the runtime lock too.
.venv/.dev: tools/setup requirements/dev.txt pyproject.toml
	@tools/setup dev
	@touch .venv/.runtime

demo: .venv/.runtime
	@$(BIN)/python -m tools.demo

lint: .venv/.dev
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

pytest: .venv/.dev
	$(BIN)/pytest $(PYTEST_ARGS) --durations=15 --cov --cov-report=
	$(BIN)/coverage report --include='$(PURE_FILES)' --fail-under=$(COVERAGE_MIN) --skip-covered

test: .venv/.dev
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory pytest

generate: .venv/.dev
	$(BIN)/python -m controller.entrypoints.generate
	$(BIN)/python -m tools.cli_reference

bench: .venv/.dev
	$(BIN)/python -m benchmarks $(NAME)

screenshot: .venv/.dev
	$(BIN)/python -m tools.screenshot

# One lock for Linux and macOS, x86-64 and ARM, Python 3.11 and later; no index addresses in it.
LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet
lock: build/lock/bin/uv
	$< pip compile pyproject.toml --extra gpu --extra data --group build $(LOCK) -o requirements/runtime.txt
	$< pip compile pyproject.toml --all-extras --group build --group dev -c requirements/runtime.txt $(LOCK) -o requirements/dev.txt
	$< pip compile examples/digits/requirements.in $(LOCK) -o examples/digits/requirements.lock

build/lock/bin/uv:
	python3 -m venv build/lock
	build/lock/bin/pip install --quiet 'uv>=0.13,<1'

clean:
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.*
