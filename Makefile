# Sightline's commands. Everything that can be said in a script of its own is; this file says in which order.
#
# One profile (release) and one feature set serve every target, so that no dependency is built twice.

CARGO ?= cargo
PYTHON := .sightline/venv/bin/python
# What /version says: stamped into the programs alone, so that a new commit compiles no library anew.
export SIGHTLINE_COMMIT := $(shell git describe --always --abbrev=40 --dirty 2>/dev/null || echo unknown)
WORKSPACE := --release --workspace --locked

.DEFAULT_GOAL := help
.PHONY: help setup peers build demo test test-gpu bench soak accuracy accuracy-data fmt clean-state rust

help: ## List the targets
	@echo 'Sightline, from clone to cameras:'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'
	@echo 'DEMO_SECONDS=30 make demo ends by itself. The programs explain themselves: target/release/sightline-edge --help'

setup: ## Install missing system packages, fetch run-time files into .sightline/ (pinned; nothing twice)
	@deploy/setup/packages.sh
	@deploy/setup/fetch.sh

peers: .sightline/venv/.peers

.sightline/venv/.peers: tests/peers/requirements.txt | setup
	@echo 'set-up: installing Python packages for the peers' >&2
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

rust:
	@command -v $(CARGO) >/dev/null || { echo 'make: Rust 1.95 or newer is needed and cargo is not here: install it from https://rustup.rs' >&2; exit 1; }

build: rust setup ## Build every program, optimised
	@echo 'build: the first time takes about 15 minutes on two cores; afterwards seconds' >&2
	@$(CARGO) build $(WORKSPACE)

demo: build ## Three cameras on real pictures, classified, on MQTT and in a lake; Ctrl-C or DEMO_SECONDS=30 ends it
	@target/release/sightline-demo

test: ## Formatting, clippy, unit, property, golden and end-to-end tests; installs all it needs
	@tests/all.sh

test-gpu: setup rust ## An engine on a real NVIDIA GPU: answers, times, memory, endurance (GPU_ENGINE, GPU_SECONDS); see docs/engines.md
	@$(CARGO) run $(WORKSPACE) --example gpu -- --engine $${GPU_ENGINE:-tensorrt} --seconds $${GPU_SECONDS:-600}

bench: build ## Benchmarks against peers, interleaved; see docs/benchmarks.md
	@tests/bench/run.sh

soak: build ## Kill, freeze, cut off, fill up: 200 rounds (SOAK_ROUNDS, SOAK_SEED), the simulator, memory; nothing lost
	@tests/soak/run.sh

accuracy: build accuracy-data ## Trainings on real pictures: Fashion-MNIST, MNIST, cut-outs (about 90 minutes; ACCURACY=mnist for one); preprocessing against Pillow
	@$(CARGO) test $(WORKSPACE) --test pillow -- --nocapture
	@$(PYTHON) tests/accuracy/accuracy.py $(ACCURACY)

accuracy-data: .sightline/venv/.accuracy
	@deploy/setup/fetch.sh datasets

.sightline/venv/.accuracy: tests/accuracy/requirements.txt | setup
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

fmt: rust ## Format all code
	@$(CARGO) fmt --all

clean-state: ## Remove what the demo left behind; run-time files and builds stay
	@rm -rf .sightline/demo
