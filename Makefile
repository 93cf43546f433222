# Two commands for everything: `make report` answers the questions, `make test` runs the tests. Both set up .venv first.
# `make autograder.zip` packs grading/ for Gradescope.

PYTHON ?= python3
DATA_DIR ?= data
SVHN_FILE ?=
GAN_STEPS ?=
BIN := .venv/bin

.PHONY: report test lint notebook autograder.zip

report: .venv/ready
	@$(BIN)/python -m report --data-dir "$(DATA_DIR)" \
	    $(if $(SVHN_FILE),--data-file "$(SVHN_FILE)") $(if $(GAN_STEPS),--gan-steps "$(GAN_STEPS)")

test: .venv/ready
	@$(BIN)/python -m pytest -n 2 --dist worksteal

lint: .venv/ready
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

notebook: .venv/ready  # after a change to a module that vae.ipynb carries a copy of
	@$(BIN)/python -m tools.notebook

autograder.zip:
	@rm -f $@
	@$(PYTHON) -m zipfile -c $@ grading/gradescope/setup.sh grading/gradescope/run_autograder grading/
	@echo "$@: upload it as the autograder of a programming assignment"

.venv/ready: requirements.txt requirements-dev.txt requirements-offline.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("error: Python %d.%d is too old, 3.10 is the least; make PYTHON=..." % sys.version_info[:2] if sys.version_info < (3, 10) else 0)'
	@echo "Setting up .venv with the versions of constraints.txt: about a minute, and 1 GB of disk with the CPU build of PyTorch"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq -c constraints.txt -r requirements.txt -r requirements-dev.txt
	@$(BIN)/pip install -qq -c constraints.txt -r requirements-offline.txt --no-deps
	@touch $@
