# Needs a Python ≥ 3.11 with pip, and make. Everything else is installed into .venv, once, and again when what is needed changes.

.DEFAULT_GOAL := help
.PHONY: help demo test test-full lint bench soak lock names clean

BIN := .venv/bin
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --upgrade --no-header --no-emit-index-url --quiet
SIM_SECONDS := $(if $(CI),300,60)
SET_UP := pyproject.toml tools/set_up.sh

help: ## List what can be made
	@sed -n 's/^\([a-z-]*\):.* ## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do printf '  make %-10s %s\n' "$$name" "$$what"; done

demo: .venv/.ready-demo ## Take the guided tour on 236 years of speeches
	$(BIN)/paradox demo

test: lint ## Check style, types, imports and behaviour, in 15 to 25 minutes
	$(BIN)/paradox sim --seconds $(SIM_SECONDS)
	$(BIN)/python -m pytest

test-full: lint ## The same, with the slow tests
	$(BIN)/python -m pytest -m "not soak" --timeout=1800

soak: .venv/.ready-test ## Crash a thousand times and count what was lost
	$(BIN)/paradox sim --worlds 2000
	$(BIN)/python -m pytest -m soak --timeout=0

bench: .venv/.ready-bench ## Measure Paradox and its peers side by side
	$(BIN)/paradox bench --peers --large

lint: .venv/.ready-test ## Check style, types, imports and the generated face
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/generate_sync.py --check

lock: ## Choose the newest versions that pyproject.toml allows
	@sh tools/set_up.sh
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(COMPILE) --extra test --output-file requirements/test.txt
	$(COMPILE) --extra bench --constraint requirements/test.txt --output-file requirements/bench.txt

names: .venv/.ready-test ## Write down the public names after a wanted change
	$(BIN)/python tools/public_names.py > tests/public_names.txt

clean: ## Remove .venv and every cache
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.ready-bench: requirements/bench.txt $(SET_UP)
	@sh tools/set_up.sh bench requirements/bench.txt

.venv/.ready-%: requirements/test.txt $(SET_UP)
	@sh tools/set_up.sh $* requirements/test.txt
