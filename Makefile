# One command each; `make demo` and `make test` need no other step on a fresh machine.
VENV := .venv
PYTHON := $(VENV)/bin/python
ARGS ?=

.PHONY: setup demo test check bench

setup: $(VENV)/installed

# A newer torch pulls gigabytes of CUDA on Linux, so it is pinned and installed before what depends on it.
$(VENV)/installed: pyproject.toml
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet torch==2.13.0
	$(PYTHON) -m pip install --quiet --editable '.[dev]'
	touch $@

demo: setup
	$(PYTHON) -m examples.demo $(ARGS)

test: setup
	$(PYTHON) -m pytest $(ARGS)

check: setup
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

bench: setup
	$(PYTHON) -m benchmarks $(ARGS)
