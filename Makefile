# Every command that a person needs. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Settings, on the command line or in the environment:
IMAGE ?=
SCALE ?=
DATA ?=
FILES ?=
OUT ?=
DR ?=
ARGS ?=
TORCH ?=
PYTHON ?= python3
# Jobs at once: one a core, but 2 GB of memory for each (libtorch's headers are large).
JOBS ?= $(shell awk -v cores=$$(nproc) '/^MemTotal/ { m = int($$2 / 2e6); j = m < cores ? m : cores; print j < 1 ? 1 : j }' /proc/meminfo)
export IMAGE SCALE DATA FILES OUT DR ARGS TORCH PYTHON JOBS

PRESET := release
BUILD = cmake --build --preset $(PRESET) -j $(JOBS)

.PHONY: help demo test test-all build wheel lint format bench compare train-compact clean setup-build setup-test setup-lint setup-train configure

help:
	@echo "make demo [IMAGE=photo.jpg] [SCALE=2]   restore a photograph: installs, builds, runs, prints where the result is"
	@echo "make test                               installs, builds, runs the tests and checks"
	@echo "make build                              the program, build/resflow, and the Python module, build/python"
	@echo "make wheel                              the Python module as a wheel, in build/python"
	@echo "make test-all                           the slow tests too"
	@echo "make lint [FILES=all|'src/a.cpp ...']   checks, then clang-tidy over what changed since main (or all, or these)"
	@echo "make format                             clang-format, in place"
	@echo "make bench                              measures speed and memory; build/bench.json"
	@echo "make compare DATA=folder [OUT=folder]   restores folder/lq in several ways beside Real-ESRGAN: table, sheet, page"
	@echo "make train-compact DATA=folder          trains the compact model on a folder of images"
	@echo "make clean                              removes build folders and demo/ (keeps .venv)"

setup-build:
	@tools/setup.sh build
setup-test:
	@tools/setup.sh test
setup-lint:
	@tools/setup.sh lint
setup-train:
	@tools/setup.sh train

# Ninja runs CMake again by itself where a CMake file changed.
configure:
	@if [ ! -f build/build.ninja ] || [ CMakePresets.json -nt build/build.ninja ]; then cmake --preset $(PRESET); fi

build: setup-build
	@$(MAKE) --no-print-directory configure
	@$(BUILD) --target resflow resflow_python

# .venv's own setuptools packs what is built already: nothing is fetched.
wheel: build
	@rm -rf build/python/build build/python/*.egg-info build/python/*.whl
	@.venv/bin/python -m pip wheel --disable-pip-version-check --quiet --no-deps --no-build-isolation --wheel-dir build/python build/python
	@ls build/python/*.whl

demo: setup-$(if $(IMAGE),build,test)
	@$(MAKE) --no-print-directory configure
	@$(BUILD) --target resflow
	@tools/demo.sh

test: setup-test
	@$(MAKE) --no-print-directory configure
	@$(BUILD)
	@ctest --preset $(PRESET) -LE slow

test-all: setup-test
	@$(MAKE) --no-print-directory configure
	@$(BUILD)
	@ctest --preset $(PRESET)

lint: setup-lint
	@tools/lint.sh

format: setup-test
	@.venv/bin/python tools/check_format.py --fix

bench: build
	build/resflow bench -o build/bench.json

# Goes on where it stopped.
compare: build
	@tools/compare.sh

# Goes on where it stopped.
train-compact: setup-train
	@$(MAKE) --no-print-directory configure
	@$(BUILD) --target resflow
	@tools/train_compact.sh

clean:
	rm -rf build build-dev build-asan build-fuzz build-lint demo
