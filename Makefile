# Every target is one command. Variables: make test TESTFLAGS=-short, make test-matrix DRIVERS=lavapipe,sid, ...

GO         ?= go
TESTFLAGS  ?=
TIMEOUT    ?= 30m
DRIVERS    ?= lavapipe,swiftshader,sid
MATRIX     ?=
FUZZTIME   ?= 10s
RUN_CMD    ?= bin/vkattn run --preset llama3.1-8b --seqlen 2k --causal --check --device demo
BENCH_CMD  ?= bin/vkattn bench --suite fa --quick --device demo --save build/bench.jsonl
SMALL      ?= . ./cpu/... ./shaders/... ./internal/... ./tools/...
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Tests that need a device must find lavapipe, and fail where they would skip.
ON_LAVAPIPE = VKATTN_REQUIRE_DEVICE=1 VKATTN_TEST_DEVICE=llvmpipe

.DEFAULT_GOAL := help
.PHONY: help setup build run test test-race test-nocgo test-matrix test-matrix-full validate-gpu validate-sid shaders \
  shaders-check asm asm-check lint windows darwin fuzz bench clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing (Debian, root): Vulkan loader, a driver, gcc
	@tools/setup.sh

build: ## bin/vkattn
	$(GO) build -o bin/ ./cmd/...

run: setup build ## one attention of Llama 3.1 8B size on the GPU, or on what there is
	$(RUN_CMD)

test: ## all tests, on lavapipe (a Vulkan driver in software) and on the CPU
	@tools/setup.sh test
	$(ON_LAVAPIPE) $(GO) test -timeout $(TIMEOUT) $(TESTFLAGS) ./...

test-race: ## the small packages under the race detector
	$(GO) test -race -timeout $(TIMEOUT) $(TESTFLAGS) $(SMALL)

test-nocgo: ## all tests without cgo: no Vulkan, CPU only
	CGO_ENABLED=0 $(GO) test -timeout $(TIMEOUT) $(TESTFLAGS) ./...

test-matrix: ## the device tests on lavapipe, SwiftShader and the newest lavapipe (in a Debian sid root, built once): one table
	@tools/setup.sh test
	$(GO) run ./tools/matrix -drivers $(DRIVERS) -timeout $(TIMEOUT) $(if $(findstring -short,$(TESTFLAGS)),-short) $(MATRIX)

test-matrix-full: ## the same with every case
	@VKATTN_FULL=1 $(MAKE) --no-print-directory test-matrix

validate-gpu: ## every access of every kernel checked by the validation layer, on lavapipe; an hour or more
	@tools/setup.sh test validation
	GALLIVM_PERF=nopt VKATTN_VALIDATE_GPU=1 $(ON_LAVAPIPE) $(GO) test -timeout 5h -v -run TestValidationGPU ./dispatch

validate-sid: ## races in shared memory, missing barriers and more, by the newest validation layer (in the Debian sid root)
	@mkdir -p build
	$(GO) test -c -o build/vk.test ./vk
	$(GO) test -c -o build/dispatch.test ./dispatch
	cd vk && VKATTN_VALIDATE_SID=1 $(ON_LAVAPIPE) ../tools/root.sh exec ../build/vk.test -test.v -test.run Validation
	cd dispatch && VKATTN_VALIDATE_SID=1 $(ON_LAVAPIPE) ../tools/root.sh exec ../build/dispatch.test -test.v -test.timeout 2h \
	  -test.run TestValidationRaces

shaders: ## compile changed shaders to shaders/spv and rewrite the manifest
	$(GO) run ./tools/spvgen

shaders-check: ## recompile all shaders and compare with shaders/spv
	$(GO) run ./tools/spvgen -check

asm: ## write the assembly of package cpu (avo)
	$(GO) generate ./cpu

asm-check: ## regenerate the assembly of package cpu and compare
	@$(GO) generate ./cpu && git diff --exit-code -- cpu/asm_amd64.s cpu/asm_amd64.go

lint: ## gofmt, go vet in three configurations, bash -n, staticcheck when it can be had
	@bad=$$(gofmt -l .); [ -z "$$bad" ] || { echo "gofmt: $$bad"; exit 1; }
	$(GO) vet ./...
	CGO_ENABLED=0 $(GO) vet ./...
	$(GO) vet -tags novulkan ./...
	@for f in tools/*.sh .ci/run; do bash -n $$f || exit 1; done
	@mkdir -p build
	@if GOFLAGS= GOBIN=$(CURDIR)/build/bin $(GO) install $(STATICCHECK) 2>build/staticcheck.log; \
	then echo build/bin/staticcheck ./...; build/bin/staticcheck ./...; \
	else echo "staticcheck: not run, it could not be installed: $$(tail -1 build/staticcheck.log)"; fi

windows: ## cross-compile for Windows with mingw, Vulkan included
	@tools/setup.sh windows
	GOOS=windows GOARCH=amd64 CGO_ENABLED=1 CC=x86_64-w64-mingw32-gcc $(GO) build ./...
	GOOS=windows GOARCH=amd64 CGO_ENABLED=1 CC=x86_64-w64-mingw32-gcc $(GO) build -o bin/windows/ ./cmd/...

darwin: ## compile for macOS, CPU only
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build ./...

fuzz: ## each fuzz target for FUZZTIME
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's|/[^/]*_test.go:func | |' | sort -u | \
	while read -r dir name; do \
	  echo "$$dir $$name"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s $$dir || exit 1; \
	done

bench: build ## measure this machine's devices; build/report.html shows it
	@mkdir -p build && rm -f build/bench.jsonl
	$(BENCH_CMD)
	bin/vkattn report build/bench.jsonl -o build/report.html

clean: ## remove what was built here; caches under ~/.cache/vkattn stay
	rm -rf bin build
