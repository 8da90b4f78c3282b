# Every command sets up what it needs in .venv and is quick when there is nothing to set up.
#
#   PYTHON=python3.12            the interpreter to make .venv with; by default the first of 3.11 to 3.14 that is found
#   TORCH_INSTALL_ARGS="..."     pip options for the torch installation, such as --index-url with PyTorch's CPU wheel index
#   TORCH=torch==2.13.0          the torch to install; by default the CPU build on Linux
#   ARGS="-k verdicts -x"        further arguments of the command behind a target

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo experiment test test-view test-hosts test-openrlhf test-verl test-vllm test-ray lint types bench docs site clean

VENV := .venv
RUN := $(VENV)/bin/python
# A second -q would leave the counts out.
PYTEST = -m pytest $(if $(filter -q,$(ARGS)),,-q) -rsfE
PINS := constraints/test.txt
EXTRAS := trl,transformers,service,view,docs,dev
TORCH_PIN := $(shell sed -n 's/^torch==//p' $(PINS))
# On Linux the plain version of a public registry brings gigabytes of CUDA libraries; elsewhere it is a CPU build.
TORCH ?= torch==$(TORCH_PIN)$(if $(filter Linux,$(shell uname -s)),+cpu)
TORCH_INSTALL_ARGS ?=
PYTHON ?=
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
PIP := $(RUN) -m pip --quiet

# The stamps carry a checksum of all that decides what is installed: while it stays, pip is not even started.
checksum = $(shell (cat pyproject.toml $(1); echo "$(TORCH) $(EXTRAS) $(CURDIR)") | cksum | tr ' ' '-')
READY := $(VENV)/ready-$(call checksum,$(PINS))

# Libraries whose dependencies contradict each other, or those of a trainer: each has an environment of its own.
HOSTS := openrlhf verl vllm ray
host_ready = .venv-$(1)/ready-$(call checksum,constraints/$(1).txt)

help:  ## what the commands are
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## trains a tiny judge, and a policy by its verdicts, before your eyes; minutes
	@$(RUN) -m examples.experiment --demo $(ARGS)

experiment: $(READY)  ## the same on three seeds, as docs/experiment.md reports it; half an hour or so
	@$(RUN) -m examples.experiment $(ARGS)

test: $(READY)  ## all tests, offline and on the CPU
	@$(RUN) $(PYTEST) $(ARGS)

test-view: $(READY)  ## the tests of rrm view alone, which open it in Chromium: apt-get install chromium chromium-driver
	@$(RUN) $(PYTEST) tests/viewer $(ARGS)

test-hosts: $(HOSTS:%=test-%)  ## tests against OpenRLHF, verl, vLLM and Ray, each in an environment of its own

lint: $(READY)  ## style, formatting, and which module may import which
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m pytest -q tests/house/test_arrows.py

types: $(READY)  ## static types
	@$(RUN) -m pyright $(ARGS)

bench: $(READY)  ## each benchmark in benchmarks/, one after the other; ARGS=--write keeps the figures
	@for script in benchmarks/*.py; do echo "== $$script"; $(RUN) $$script $(ARGS) || exit 1; done

docs: $(READY)  ## rewrite what docs/ reads off the code
	@$(RUN) docs/scripts/generate.py $(ARGS)

site: $(READY)  ## the docs as web pages, with a reference of the API, in outputs/site; broken links fail
	@$(RUN) docs/scripts/site.py

clean:  ## remove .venv and all that the commands made
	rm -rf $(VENV) $(HOSTS:%=.venv-%) build dist outputs .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(1): the environment's folder, $(2): its file of versions. Makes it where it is missing, and puts torch into it if the
# file has one.
define environment
candidates="$(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3)"; \
usable='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'; \
if ! $(1)/bin/python -m pip --version >/dev/null 2>&1 || ! $(1)/bin/python -c "$$usable" 2>/dev/null; then \
  for python in $$candidates none; do \
    if [ $$python = none ]; then \
      echo "No Python >= 3.11 with its venv module among: $$candidates. Install one, or say PYTHON=..." >&2; exit 1; fi; \
    if $$python -c "$$usable" 2>/dev/null; then break; fi; \
  done; \
  echo "Making $(1) with $$($$python --version)"; \
  $$python -m venv --clear $(1); \
fi; \
echo "Installing the test environment into $(1); a few minutes, once"; \
! grep -q '^torch==' $(2) || \
$(1)/bin/python -m pip --quiet install -c $(2) $(TORCH_INSTALL_ARGS) "$(TORCH)" || { \
  echo "" >&2; \
  echo "$(TORCH) could not be installed. Where pip's registry has no CPU build of torch, point to PyTorch's CPU wheel index:" >&2; \
  echo "    make $(or $(MAKECMDGOALS),test) TORCH_INSTALL_ARGS='--index-url ADDRESS_OF_THE_INDEX'" >&2; \
  echo "or accept the registry's own build, with its CUDA libraries:" >&2; \
  echo "    make $(or $(MAKECMDGOALS),test) TORCH=torch==$(TORCH_PIN)" >&2; \
  exit 1; }
endef

$(READY):
	@$(call environment,$(VENV),$(PINS))
	@$(PIP) install -c $(PINS) -e ".[$(EXTRAS)]"
	@rm -f $(VENV)/ready-* && touch $@

# Their own packages would pull CUDA builds: they are installed alone, on the requirements in the file of versions.
define host
test-$(1): $(call host_ready,$(1))
	@.venv-$(1)/bin/python $$(PYTEST) tests/contract/with_$(1) $$(ARGS)

$(call host_ready,$(1)):
	@$$(call environment,.venv-$(1),constraints/$(1).txt)
	@.venv-$(1)/bin/python -m pip --quiet install -r constraints/$(1).txt
	@.venv-$(1)/bin/python -m pip --quiet install --no-deps $$$$(sed -n 's/^# alone: //p' constraints/$(1).txt) -e .
	@sed -n 's/^# without: //p' constraints/$(1).txt | xargs -r .venv-$(1)/bin/python -m pip --quiet uninstall -y
	@rm -f .venv-$(1)/ready-* && touch $$@

endef
$(foreach name,$(HOSTS),$(eval $(call host,$(name))))
