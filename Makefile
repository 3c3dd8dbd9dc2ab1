# Everything runs in .venv, which the first target that needs it makes from requirements.lock.
# Needs make and a python3 of at least 3.11 with its venv module; choose another with: make report PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# Holds the folder that everything in .venv was installed for. After a move or a copy it is another one: install again.
ifneq ($(shell cat $(INSTALLED) 2>/dev/null),$(CURDIR))
.PHONY: $(INSTALLED)
endif
# Passed on to the command behind the target, for example: make report ARGS="--profile smoke"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help report site pdf test bench lint lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

report: $(INSTALLED)  ## run every chapter at the profile that fits this machine and build the site from it
	$(BIN)/python -m clip_invariance.cli report $(ARGS)

site: $(INSTALLED)  ## build the site from the published results, without running anything
	$(BIN)/python -m clip_invariance.cli build $(ARGS)

pdf: $(INSTALLED)  ## print the published report as one PDF; needs Chromium or Chrome
	$(BIN)/python -m clip_invariance.cli pdf $(ARGS)

test: $(INSTALLED)  ## run all tests
	$(BIN)/python -m pytest $(ARGS)

bench: $(INSTALLED)  ## measure speed and memory against what one would use instead, for the methods page
	$(BIN)/python benchmarks/run.py $(ARGS)

lint: $(INSTALLED)  ## check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Versions that are already locked stay. They are one set known to work together, so move them on purpose only:
# make lock ARGS=--upgrade, or ARGS="--upgrade-package timm"; then run the tests and a whole report.
lock: $(BIN)/uv  ## bring requirements.lock in step with pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --extra dev \
	  --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS) \
	  --output-file requirements.lock pyproject.toml

clean:  ## delete everything that a run or a build made, and .venv; published figures stay
	rm -rf _build .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Scripts in .venv/bin name the folder of their Python: after a move they miss it, after a copy they run the original's.
define RENAME
import pathlib, sys
old, new = (f"{folder}/.venv".encode() for folder in sys.argv[1:])
for path in pathlib.Path(".venv/bin").iterdir():
    if path.is_file() and not path.is_symlink() and old in (text := path.read_bytes()) and b"\0" not in text:
        path.write_bytes(text.replace(old, new))
endef
export RENAME

# Editable: a change of the sources needs no new install, a change of the lock, of pyproject.toml or of the place does.
# The lock holds what builds the package, so that no network is needed for that.
$(INSTALLED): requirements.lock pyproject.toml $(BIN)/uv
	@before="$$(cat $@ 2>/dev/null)"; if [ -n "$$before" ] && [ "$$before" != "$(CURDIR)" ]; then \
	  echo "Installing again: .venv was made for $$before" && $(BIN)/python -c "$$RENAME" "$$before" "$(CURDIR)"; fi
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation \
	  --reinstall-package clip-invariance --editable .
	@printf '%s\n' "$(CURDIR)" >$@

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is missing or older than" \
	  "Python 3.11: install a newer one, or name one you have, as in: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "$(PYTHON) comes without its venv module: install it (on Debian" \
	  "and Ubuntu: apt-get install python3-venv)" >&2; exit 2; }
	@echo "Installing the locked packages into .venv (once; 6 GB on Linux, most of it PyTorch for CUDA)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^uv==' requirements.lock)
	@touch $@
