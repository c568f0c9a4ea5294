# make run: everything that's needed, then `tazpod run base` in examples/hello.
# make test: everything that's needed, then all checks and tests.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
GO ?= go
export PATH := $(PATH):/usr/sbin:/sbin

STATIC := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w'
TEST_FLAGS ?= -race -count=1 -p 2 -timeout 15m

.PHONY: build
build:
	$(STATIC) -o bin/tazpod-init ./cmd/tazpod-init
	cmp -s bin/tazpod-init images/payload/tazpod-init || install -m 0755 bin/tazpod-init images/payload/tazpod-init
	$(STATIC) -o bin/tazpod ./cmd/tazpod

.PHONY: setup
setup:
	scripts/setup

.PHONY: run
run: setup build
	if [ -t 0 ] && [ -t 1 ]; then cd examples/hello && ../../bin/tazpod run base; else examples/hello/demo.sh; fi

.PHONY: lint
lint:
	scripts/lint

.PHONY: test
test: setup build lint
	$(GO) test $(TEST_FLAGS) ./...

.PHONY: bench
bench: setup build
	$(GO) test -run '^$$' -bench . -count=1 -timeout 30m ./bench/...

.PHONY: fuzz
fuzz:
	scripts/fuzz

.PHONY: clean
clean:
	rm -rf bin images/payload/tazpod-init
