# Two commands: `make demo` and `make test`; both set up .venv first, and are quick the second time.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test suite setup lint format results docs wheel sanitize clean
demo: setup
	$(BIN)/fphi demo --out report.html

# Types are checked beside the tests, which leave a core free now and then.
test: setup
	$(MAKE) --jobs 2 lint suite

# Processes of one thread each, two more than there are cores: some tests wait for commands of their own,
# each of which would compile the package anew where Python is told to keep no bytecode.
suite: setup
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

setup: .venv/.complete

.venv/.complete: pyproject.toml constraints.txt setup.py $(wildcard src/fphi/native/kernels/*)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fphi needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/fphi doctor
	touch $@

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The tables of the README, of results/README.md and of docs/, from results/.
results: setup
	$(BIN)/fphi results

# The pages of docs/ as HTML in docs/_build; a warning is an error.
docs: .venv/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

.venv/.docs: .venv/.complete
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

# One wheel for this platform and every Python 3, with the kernels for each kind of processor.
wheel: setup
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

# The tests of the kernels, with every access to memory and every undefined operation watched.
SANITIZED := build/kernels-sanitized.so
sanitize: setup
	mkdir -p build
	$(or $(CXX),g++) -O1 -g -std=c++17 -shared -fPIC -pthread -mavx2 -mfma -fsanitize=address,undefined \
	  -fno-sanitize-recover=all -DFPHI_FINGERPRINT=$$($(BIN)/python src/fphi/native/fingerprint.py) \
	  src/fphi/native/kernels/fphi.cpp -o $(SANITIZED)
	LD_PRELOAD="$$($(or $(CXX),g++) -print-file-name=libasan.so) $$($(or $(CXX),g++) -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1 FPHI_NATIVE=$(SANITIZED) \
	  $(BIN)/python -m pytest tests/native -p no:cacheprovider --capture=no

clean:
	rm -f src/fphi/native/*.so
	rm -rf .venv build dist report.html docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis
