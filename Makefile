# Everything is done by two commands: `make lab` opens the guided notebooks, `make test` checks all.
# The first use of either installs what it needs into .venv; later ones start at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

LAB_FLAGS ?=
# TORCH=default takes PyTorch from where pip looks, with CUDA on Linux, also without a GPU.
TORCH ?= auto
PYTEST_FLAGS ?=

# Waiting OpenMP threads that spin slow a busy machine down many times over.
export OMP_WAIT_POLICY ?= PASSIVE

# Compiled for by `make wheels`; "any" is the pure wheel for every other machine.
WHEELS ?= linux-x86-64 linux-arm64 windows-x86-64 macos-x86-64 macos-arm64 any

.DEFAULT_GOAL := help
.PHONY: help lab demo test test-quick test-long lint screenshots site wheels constraints native install install-dev install-wheels clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

lab: install  ## Open JupyterLab on the first notebook (LAB_FLAGS="--no-browser --port 9000")
	$(BIN)/rwkv-music lab notebooks/ $(LAB_FLAGS)

demo: install  ## Continue a short prompt three ways, without a notebook: music and pictures in out/
	$(BIN)/rwkv-music continue examples/prompt.mid --bars 4 --candidates 3 --pictures -o out/

test: lint  ## Check everything: style, types, floors, tests, notebooks, a real browser
	$(BIN)/pytest -m "not long" --durations=10 $(PYTEST_FLAGS)

test-quick: lint  ## The same without notebooks and browser
	$(BIN)/pytest -m "not long and not notebook and not browser" $(PYTEST_FLAGS)

test-long: install-dev  ## The tests that take minutes
	$(BIN)/pytest -m long $(PYTEST_FLAGS)

lint: install-dev  ## Style, types and floors only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

screenshots: install-dev  ## Renew the pictures under docs/images/ (needs Chromium)
	$(BIN)/python -m tests.browser.screenshots docs/images
	$(BIN)/python -m tests.browser.moving_picture docs/images/continue.gif

site: install-dev  ## Build the documentation into site/, with the pages of the gallery
	$(BIN)/mkdocs build --quiet

wheels: install-wheels  ## Compile wheels for five kinds of machines into dist/, and check them
	rm -f dist/*.whl
	@for wheel in $(WHEELS); do \
	  RWKV_MUSIC_WHEEL=$$wheel ZIG_GLOBAL_CACHE_DIR="$(CURDIR)/build/zig" \
	    nice -n 10 $(BIN)/python -m build --wheel --no-isolation || exit 1; \
	done
	$(BIN)/python tools/check_wheels.py dist/*.whl

constraints: install-dev  ## Renew constraints.txt, and look for wheels for every Python (UPGRADE=--upgrade)
	$(BIN)/python tools/renew_constraints.py $(UPGRADE)
	$(BIN)/python tools/renew_constraints.py --check

native: $(VENV)/installed  ## Compile the native CPU library here if its sources changed
	-@$(BIN)/python rwkv_music/native/build.py --if-changed

install: $(VENV)/installed native  ## What the notebooks need, in tested versions, in .venv
install-dev: $(VENV)/installed-dev native  ## What the tests need as well
install-wheels: $(VENV)/installed-wheels

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "$(PYTHON) is older than Python 3.11: name a newer one, as in make $(MAKECMDGOALS) PYTHON=python3.12"; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)
	@test "$(TORCH)" != auto || { index=$$($(BIN)/python tools/torch_index.py) && test -z "$$index"; } || \
	  $(PIP) install -c constraints.txt --no-deps --index-url "$$index" torch || \
	  echo "PyTorch's CPU build cannot be fetched: the build that pip finds is installed instead."
	$(PIP) install -c constraints.txt -e ".[lab,playback,gpu]"
	@# The question whether JupyterLab may fetch news would be the first thing to be seen.
	@$(BIN)/jupyter labextension disable "@jupyterlab/apputils-extension:announcements" >/dev/null 2>&1
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $@

$(VENV)/installed-wheels: $(VENV)/installed
	$(PIP) install -c constraints.txt -e ".[wheels]"
	@touch $@

clean:  ## Remove .venv and everything built here (not your runs/ and out/)
	rm -rf $(VENV) build dist rwkv_music/native/lib .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
