# Two commands are all a newcomer needs: `make dub` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTABLE := $(VENV)/.testable
PRETRAINED := $(VENV)/.pretrained

.PHONY: dub test test-slow test-pretrained setup setup-tests lint types clean

dub: setup
	$(BIN)/dub demo --out out

# Every pretrained reader in the real class of its library, at toy size; what is skipped is counted and told why.
test-pretrained: $(PRETRAINED)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m pretrained -rs

test: setup-tests lint types
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest

# What takes minutes: whole recipes and pages from end to end, two processes by torchrun for twenty updates.
test-slow: setup-tests
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m slow

setup: $(READY)

setup-tests: $(TESTABLE)

# torch comes first, from the pin, so that no later resolution can prefer another build. Which build the pin means is up to
# the package index: on a machine without a GPU point pip at CPU wheels (PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL). Where CI is
# set, a build that brings CUDA along is refused before it is downloaded.
# resemblyzer comes without its dependencies: it names a package that needs a C compiler, whose compiled twin
# (webrtcvad-wheels) pyproject.toml lists instead.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@if [ -n "$$CI" ] && $(BIN)/python -m pip install --dry-run -c constraints.txt torch 2>/dev/null | grep -qi nvidia; \
	then echo "CI needs the CPU build of torch; set PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL to one" >&2; exit 1; fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "resemblyzer==0.1.4"
	touch $@

# What only tests need, a Milvus server and a Ray cluster among it.
$(TESTABLE): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

$(PRETRAINED): $(TESTABLE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[pretrained,emotion2vec,faces]"
	touch $@

lint: setup-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup-tests
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info
