# Two commands for a newcomer: `make run` and `make test`. Everything is set up in .venv; nothing else is touched.

# The first Python of a supported version that can make a virtual environment.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& { echo $$p; break; }; done)
BIN := .venv/bin
MANIFEST ?= manifests/reuters-r8-minilm.toml
PYTEST_ARGS ?=
# Files of tests at once; much of what they do is waiting for engines.
JOBS ?= 2

.PHONY: run test check format bench docs clean help

help:
	@echo 'make run      install into .venv and run $(MANIFEST) to a verdict'
	@echo 'make test     the whole test suite'
	@echo 'make check    formatter, linter, type checker, import rules'
	@echo 'make bench    the figures of docs/performance.md'
	@echo 'make docs     docs/ as web pages, in build/docs'
	@echo 'make clean    remove .venv (runs and the store stay)'

run: .venv/installed
	$(BIN)/repro-tui --run $(MANIFEST)

test: .venv/installed-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

bench: .venv/installed-dev
	$(BIN)/python -m bench

docs: .venv/installed-dev
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

clean:
	rm -rf .venv

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo 'make: no Python 3.11 to 3.13 with the venv module found; on Debian and Ubuntu: apt-get install python3 python3-venv; or name one: make PYTHON=/path/to/python3.12' >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch .venv/installed $@
