# make run: everything that's needed, then `tazpod run base` in examples/hello.
# make test: everything that's needed, then all checks and tests.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
GO ?= go
export PATH := $(PATH):/usr/sbin:/sbin

# One compiler, and for tazpod-init nothing but the sources: where it is compiled, in
# a checkout or by the Dockerfile, its bytes are the same.
export GOTOOLCHAIN ?= go1.26.8

STATIC := CGO_ENABLED=0 $(GO) build -trimpath
# tazpod-init notes the signals that it inherits before the Go runtime changes
# them, hence an entry point of its own (init/pid1); and as a pod's first process
# it needs neither the runtime's watch on control groups nor its self-sent signals.
# What is freed is overwritten: libraries make copies of passphrases in packets.
INIT_FLAGS := -buildvcs=false -ldflags '-s -w -E=tazpod_entry -X=runtime.godebugDefault=containermaxprocs=0,updatemaxprocs=0,asyncpreemptoff=1,clobberfree=1'
TEST_FLAGS ?= -race -count=1 -p 2 -timeout 25m

.PHONY: build
build:
	$(STATIC) $(INIT_FLAGS) -o bin/tazpod-init ./cmd/tazpod-init
	cmp -s bin/tazpod-init images/payload/tazpod-init || install -m 0755 bin/tazpod-init images/payload/tazpod-init
	$(STATIC) -ldflags '-s -w' -o bin/tazpod ./cmd/tazpod

.PHONY: arm64
arm64:
	GOARCH=arm64 $(STATIC) $(INIT_FLAGS) -o /dev/null ./cmd/tazpod-init
	GOARCH=arm64 $(STATIC) -o /dev/null ./cmd/tazpod

.PHONY: setup
setup:
	scripts/setup

.PHONY: run
run: setup build
	if [ -t 0 ] && [ -t 1 ]; then cd examples/hello && ../../bin/tazpod run base; else examples/hello/demo.sh; fi

.PHONY: lint
lint:
	scripts/lint

# The images compile beside the tests, which wait for clocks most of the time, and
# are there when the last of them begin.
.PHONY: test
test: setup build lint arm64
	cd test/infisical/sdk && $(GO) vet ./... && $(GO) test -count=1 ./...
	bin/tazpod build gemini & images=$$!; trap 'kill $$images 2>/dev/null || true' EXIT; $(GO) test $(TEST_FLAGS) ./... && wait $$images

# All that the images have by default, compiled and tried.
.PHONY: images
images: setup build
	bin/tazpod build gemini
	TAZPOD_EVERY_TOOL=1 TAZPOD_REQUIRE=root,docker $(GO) test -count=1 -v -run 'TestGemini|TestKubectl|TestImagesAreClean|TestContents|TestDockerfile' ./test/e2e

.PHONY: bench
bench: setup build
	$(GO) run ./bench
	$(GO) run ./bench/vault
	$(GO) run ./bench/pid1
	bench/prompt.sh

.PHONY: fuzz
fuzz:
	scripts/fuzz

.PHONY: crash
crash:
	TAZPOD_CRASH=long $(GO) test -count=1 -v -timeout 4h -run 'TestCrashes|AtEachCall|TestRealKills' ./init/vault

.PHONY: soak
soak:
	TAZPOD_SOAK=long $(GO) test -count=1 -v -timeout 1h -run 'TestSoak|TestFlood|TestNoStatusLost|TestConcurrentCommands' ./init/pid1

.PHONY: clean
clean:
	rm -rf bin images/payload/tazpod-init
