# make demo   the main job, on a small model made on the spot: no download, no GPU, no account
# make test   the tests
# Both set up everything they need first: a virtual environment in .venv, and system packages (as root).

VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: demo test lint docs setup system clean

demo: setup
	$(BIN)/flexlora tiny build
	$(BIN)/flexlora run demo

test: setup
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

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

clean:
	rm -rf $(VENV) build dist docs/_build .mypy_cache .pytest_cache .ruff_cache
