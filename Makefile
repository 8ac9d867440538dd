# The few words to know. Meson and Ninja do the work, in build/ (and build-asan/, build-tsan/ for the checked builds).
BUILD   ?= build
DESTDIR ?=
PYTHON  := /usr/bin/python3
CONFIG  ?= --buildtype=debugoptimized

.PHONY: help setup build demo test test-long bench lint fmt fuzz screenshots install clean

help:
	@echo 'make build     build/fairlead-proxy, fairlead-agent, fairlead-console, fairlead'
	@echo 'make demo      a folder crosses two NATs through a proxy, in network namespaces of this machine (KEEP=1 leaves it up)'
	@echo 'make test      everything that must pass: gates, unit, simulator, fuzz corpus, sanitizers, labs'
	@echo 'make test-long what takes minutes'
	@echo 'make bench     our figures beside those of peers, in one run'
	@echo 'make lint      formatting, layers, documentation'
	@echo 'make fmt       format the sources'
	@echo 'make screenshots   pictures of the console'"'"'s pages, of real daemons at work (needs chromium)'
	@echo 'make fuzz      all fuzz targets, ten minutes in all (FUZZ_SECONDS=600)'
	@echo 'make install   programs, manual pages and units under DESTDIR'

setup:
	@./scripts/setup

$(BUILD)/build.ninja:
	@meson setup $(BUILD) $(CONFIG) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

build: setup $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet

demo: build
	@FAIRLEAD_BUILD=$(BUILD) $(PYTHON) scripts/demo

test: setup
	@$(PYTHON) scripts/test

test-long: setup
	@$(PYTHON) scripts/test long

screenshots: build
	@FAIRLEAD_BUILD=$(BUILD) $(PYTHON) scripts/screenshots

lint: setup
	@$(PYTHON) scripts/test gates

bench: build
	@./scripts/setup --bench
	@FAIRLEAD_BUILD=$(BUILD) bench/run

fuzz: setup
	@scripts/fuzz $${FUZZ_SECONDS:-600}

fmt: setup
	@git ls-files -z 'src/*.[ch]' 'tests/*.[ch]' 'bench/*.[ch]' | xargs -0 clang-format -i

install: build
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild --quiet

clean:
	@rm -rf build build-asan build-tsan build-fuzz
