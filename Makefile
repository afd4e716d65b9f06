# `make demo` and `make test` work from a clean clone: they make their own environment in .venv.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help demo test check format docs clean bench-overhead

help:
	@echo "make demo    watch a real script with a real fault and print the verdict"
	@echo "make test    run the tests"
	@echo "make check   formatting, lint, types, import contract, tests"
	@echo "make format  format the code"
	@echo "make docs    write the pages that are made from the source"
	@echo "make bench-overhead   measure what watching costs, beside its peers"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit('Python 3.11 or newer is needed, this is ' + sys.version.split()[0]) if sys.version_info < (3, 11) else None"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	@$(BIN)/viva run examples/exploding_rnn.py

test: $(READY)
	$(BIN)/python -m pytest -n 2

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)
	$(BIN)/python docs/generate_cli.py

bench-overhead: $(READY)
	$(BIN)/python bench/overhead.py

clean:
	rm -rf .venv build dist
