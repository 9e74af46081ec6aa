# Two commands: `make demo` and `make test`; both set up .venv first, and are quick the second time.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test setup lint format results clean
demo: setup
	$(BIN)/fphi demo --out report.html

test: setup lint
	$(BIN)/python -m pytest

setup: .venv/.complete

.venv/.complete: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fphi needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The tables of the README and of docs/ from results/.
COMPARING := prototypical matching relation siamese metric imaginary snail mann lstm
results: setup
	$(BIN)/python -m fphi.report.results README.md results
	$(BIN)/python -m fphi.report.results docs/comparison.md results --methods $(COMPARING)
	$(BIN)/python -m fphi.report.searches docs/architecture.md results/searches --picture docs/images/architecture/searches.png

clean:
	rm -rf .venv build dist report.html .mypy_cache .pytest_cache .ruff_cache .hypothesis
