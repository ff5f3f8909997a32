# make demo             the main job, on the tiny model: no download, no GPU, no account
# make test             the tests; but for the thorough ones and those of the heavy languages
# make languages        installs the toolchains of all languages (1.9 GB)
# make test-languages   the tests of the heavy languages, of all published verdicts, and all thorough ones
# All set up everything they need first: a virtual environment in .venv, and system packages (as root).

VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: demo test test-languages lint docs setup system languages clean

demo: setup
	$(BIN)/flexlora run demo

test: setup
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

test-languages: setup languages
	FLEXLORA_ALL_TOOLCHAINS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal tests -m 'toolchains or slow or thorough'

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/python docs/generate.py
	$(BIN)/sphinx-build -W -n -q -b html docs docs/_build/html
	@echo "docs: docs/_build/html/index.html"

setup: system $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	sh scripts/venv.sh $(PYTHON) $(VENV)
	touch $@

system:
	@sh scripts/system.sh

languages:
	@sh scripts/system.sh all

clean:
	rm -rf $(VENV) build dist docs/_build .mypy_cache .pytest_cache .ruff_cache
