# Two commands are all a newcomer needs: `make dub` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: dub test setup lint types clean

dub: setup
	$(BIN)/dub demo --out out

test: setup lint types
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest

setup: $(READY)

# resemblyzer comes without its dependencies: it names a package that needs a C compiler, whose
# compiled twin (webrtcvad-wheels) pyproject.toml lists instead. torch first, from the pin, so that no
# later resolution can prefer a CUDA build.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "resemblyzer==0.1.4"
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info
