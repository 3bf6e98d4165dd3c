# A fresh clone needs nothing but make and Python 3.11 or newer: each command installs what it uses into .venv,
# pinned by hash, and remembers that it did. Works with the make of macOS (3.81) too.

VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?= $(shell tools/find_python.sh)

# Wheels only: no dependency runs code of its own while it is installed. No resolving: the lock is complete, and pip 23
# resolves an extra such as `coverage[toml]` past the hashes as soon as a newer release exists. `pip check` sees gaps.
PIP := $(PY) -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --require-hashes --no-deps --only-binary :all:
CHECK_INSTALLED = { $(PIP) check >$(VENV)/.check 2>&1 || { cat $(VENV)/.check >&2; exit 1; }; }
INSTALL_FAILED = { echo "Installing failed. Is pypi.org (or the index that pip is configured for) reachable?" \
	"If so, run 'make clean' and try again, with PYTHON=python3.13 if your Python is newer." >&2; exit 1; }

# The packages that decide: they have no I/O, so there is no excuse.
CORE_ROOMS := chat dialects routing
CORE_COVERAGE_PERCENT := 95
MODULE_MAX_LINES := 400
OUR_PYTHON := src tests bench tools
# A worker for each core and two more (tests/conftest.py), up to four; one that hangs or dies ends the run. Which tests stay together: tests/conftest.py.
WORKERS := -n auto --maxprocesses 4 --max-worker-restart 0
RERUN = $(if $(RERUNS),--reruns $(RERUNS)) # how often a failed test is tried again: nowhere but in CI (CONTRIBUTING.md)

# As images of Python set it. Each process that a test starts would compile the sources again, each worker its tests.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench profile docs screenshots dist lock upgrade clean get-anvil mutants langchain agents
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.project $(VENV)/.llm ## run three linked nodes on this machine, no LLM needed
	@$(VENV)/bin/masa-node demo

test: $(VENV)/.test $(VENV)/.llm .cache/lowest/.made get-anvil ## run the tests, with coverage; ARGS='-k race' goes to pytest, '-n 0' is without workers
	@$(PY) -m pytest $(WORKERS) $(RERUN) --cov --cov-report= $(ARGS)
	@$(if $(ARGS),,$(CORE_COVERAGE))

CORE_COVERAGE = for room in $(CORE_ROOMS); do \
	if percent=$$($(PY) -m coverage report --include="src/masa_node/$$room/*" --fail-under=$(CORE_COVERAGE_PERCENT) --format=total); \
	then echo "coverage of $$room: $$percent %"; \
	else $(PY) -m coverage report --include="src/masa_node/$$room/*"; \
		echo "Less than $(CORE_COVERAGE_PERCENT) % of $$room is tested: add tests for the lines above." >&2; exit 1; fi; done

lint: $(VENV)/.dev ## check style, types, the packages' borders, the size of modules and that the tests mirror them
	@$(PY) -m ruff check --quiet $(OUR_PYTHON)
	@$(PY) -m ruff format --quiet --check $(OUR_PYTHON) || { echo "Run 'make format' on the files above." >&2; exit 1; }
	@$(PY) -m mypy --no-error-summary
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(PY) -m pyright
	@$(VENV)/bin/lint-imports --no-logo
	@$(PY) -m tools.check_mirror
	@find src -name '*.py' -exec wc -l {} + | awk '$$2 != "total" && $$1 > $(MODULE_MAX_LINES) { bad = 1; \
		print $$2 ": " $$1 " lines; split it, $(MODULE_MAX_LINES) are the limit" } END { exit bad }'
	@echo "lint: all well"

format: $(VENV)/.dev ## lay out the code, and mend what ruff can mend safely
	@$(PY) -m ruff check --fix-only --quiet $(OUR_PYTHON)
	@$(PY) -m ruff format --quiet $(OUR_PYTHON)

bench: $(VENV)/.test ## measure what the node adds to a request; ARGS go to the benchmark; RIVALS=1: beside other gateways
	@$(PY) -m $(if $(RIVALS),bench.rivals --page docs/benchmarks.md,bench) $(ARGS)

profile: $(VENV)/.test ## show where the CPU time of a request goes, stage by stage; ARGS go to the profile
	@$(PY) -m bench.profiling $(ARGS)

langchain: $(VENV)/.test .cache/langchain/.made ## run LangChain's standard tests straight, through the node and over a hop, with servers that answer by a script
	@$(PY) -m tools.try_langchain $(ARGS)

agents: $(VENV)/.test ## have Claude Code, Codex, opencode and Gemini CLI (from npm) work over a hop, with servers that answer by a script
	@$(PY) -m tools.try_agents $(ARGS)

mutants: $(VENV)/.test ## change one thing at a time where it is decided who is let in, and name the changes that no test notices
	@$(PY) -m tools.mutants $(ARGS)

docs: $(VENV)/.test ## write the generated parts of docs/ again
	@$(PY) -m tools.generate_docs

screenshots: $(VENV)/.test ## draw the pictures of the console in docs/console/; needs chromium
	@$(PY) -m tools.console_screenshots

dist: $(VENV)/.build ## build the wheel and the source archive into dist/
	@rm -rf dist
	@$(PY) -m hatchling build

clean: ## remove .venv and everything else that was made here
	@rm -rf $(VENV) dist build htmlcov .bench .cache .coverage .coverage.* .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find $(OUR_PYTHON) -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# ---- what is installed -------------------------------------------------------------------------------------------

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "No Python from 3.11 to 3.14 was found. Install one (Debian, Ubuntu: apt install" \
		"python3 python3-venv; macOS: brew install python@3.13), or name yours: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments." \
		"On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@rm -rf $(VENV)
	@"$(PYTHON)" -m venv $(VENV)
	@$(if $(NEWEST_PIP),$(PIP) install --quiet --upgrade pip)
	@touch $@

$(VENV)/.build: requirements/build.txt | $(VENV)/.made
	@$(INSTALL) -r requirements/build.txt || $(INSTALL_FAILED)
	@touch $@

$(VENV)/.run: requirements/run.txt $(VENV)/.build
	@echo "Installing what the node runs on into $(VENV) (once) ..."
	@$(INSTALL) -r requirements/run.txt || $(INSTALL_FAILED)
	@touch $@

# What runs a real LLM, for the demo and the tests; 34 MB, so it shows how far it is. Not every machine has a wheel of it.
$(VENV)/.llm: requirements/llm.txt $(VENV)/.run
	@echo "Installing llama.cpp, which runs a real LLM, into $(VENV) (once, 34 MB) ..."
	@if $(subst --quiet,,$(INSTALL)) -r requirements/llm.txt; then touch $@; else \
		echo "No llama.cpp can be installed here: the tests look for it elsewhere, and the demo has no real LLM." >&2; fi

# The version is read from version.py when the project is installed.
$(VENV)/.project: pyproject.toml src/masa_node/version.py $(VENV)/.run
	@$(PIP) install --quiet --no-index --no-build-isolation --no-deps --editable .
	@$(CHECK_INSTALLED)
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.project
	@echo "Installing what the tests need into $(VENV) (once) ..."
	@$(INSTALL) -r requirements/test.txt || $(INSTALL_FAILED)
	@$(CHECK_INSTALLED)
	@touch $@

# The other end of the bounds on libraries whose insides are used, beside the environment.
.cache/lowest/.made: requirements/lowest.txt $(VENV)/.build
	@rm -rf .cache/lowest
	@$(INSTALL) --target .cache/lowest -r requirements/lowest.txt || $(INSTALL_FAILED)
	@touch $@

# Its clients and its tests need sixty packages that nothing else does: an environment of their own.
.cache/langchain/.made: tools/langchain/requirements.txt | $(VENV)/.made
	@echo "Installing LangChain and its tests into .cache/langchain (once) ..."
	@rm -rf .cache/langchain && $(PY) -m venv .cache/langchain
	@.cache/langchain/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps \
		--only-binary :all: -r tools/langchain/requirements.txt || $(INSTALL_FAILED)
	@touch $@

# A local chain, for the tests of staking. Where none can be had, they are skipped and say so.
get-anvil: $(VENV)/.test
	@PYTHON=$(PY) tools/get_anvil.sh .cache/anvil || true

$(VENV)/.dev: requirements/dev.txt $(VENV)/.test
	@echo "Installing what the checks need into $(VENV) (once) ..."
	@$(INSTALL) -r requirements/dev.txt || $(INSTALL_FAILED)
	@$(CHECK_INSTALLED)
	@touch $@

# ---- what is pinned ----------------------------------------------------------------------------------------------
# dev.txt is resolved first and holds everything; the others are parts of it, so that all agree on every version.
# Universal: one file for Linux, macOS and Windows, x86-64 and aarch64, and every Python that the project supports.

COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --only-binary :all: --custom-compile-command 'make lock' $(UPGRADE)
PART_OF_DEV := --constraints requirements/dev.txt

lock: $(VENV)/.dev ## pin the dependencies of pyproject.toml in requirements/, keeping versions where possible
	@$(COMPILE) pyproject.toml --group build --group dev --output-file requirements/dev.txt
	@$(COMPILE) pyproject.toml --group test $(PART_OF_DEV) --output-file requirements/test.txt
	@$(COMPILE) pyproject.toml $(PART_OF_DEV) --output-file requirements/run.txt
	@$(COMPILE) --group build $(PART_OF_DEV) --output-file requirements/build.txt
	@$(COMPILE) --group llm --output-file requirements/llm.txt
	@$(PY) -m bench.rivals.lock tools/langchain

upgrade: ## the same with the newest versions
	@$(MAKE) lock UPGRADE=--upgrade
