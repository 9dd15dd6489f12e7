# make run   installs what is missing, builds, and shows this machine's traffic: the dashboard, or ARGS of top
# make test  installs what is missing, and runs all tests (live ones as root), on this kernel and others
# make vm    the live tests under other kernels: all of them, or KERNEL=6.1, or TEST=exact::
# make screenshot  makes docs/dashboard.svg, the picture in README.md, anew
# make conformance SUITE=DIR  bpftrace's runtime suite and tools, of a checkout of it, against tests/lang/passing;
#            with KERNEL=6.12 what doesn't pass here, in a guest
# make results  takes over what `make vm` found: tests/vm/verifier.csv, README's table of hooks
.PHONY: run build test vm conformance results lint fmt bench screenshot clean

# Live tests, benchmarks and nettrace itself need root; building doesn't.
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo -E)
ifneq ($(SUDO),)
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER = $(SUDO)
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER = $(SUDO)
endif
PEERS := target/peers
BPF := $(wildcard src/bpf/*.[ch] src/bpf/*/*.h tests/bpf/*.c)
ARGS ?=

run: build
	$(SUDO) target/release/nettrace $(if $(ARGS),top $(ARGS))

build:
	@scripts/deps.sh build
	cargo build --release --locked

test:
	@scripts/deps.sh build test
	@[ "$$(id -u)" = 0 ] || command -v sudo >/dev/null || \
		{ echo "make test: the live tests need root, and there is no sudo" >&2; exit 1; }
	cargo test --locked --profile tests
	@$(MAKE) --no-print-directory vm

# Guests need no root.
vm:
	@scripts/deps.sh build test vm
	cargo build --locked --profile tests --example traffic --example calls
	KERNEL="$(KERNEL)" CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=tests/vm/live \
		cargo test --locked --profile tests --test live -- $(TEST)

conformance:
	@scripts/deps.sh build conformance $(if $(KERNEL),vm)
	cargo build --locked $(if $(KERNEL),--profile tests)
	$(SUDO) tests/lang/conformance $(SUITE) $(if $(KERNEL),--kernel $(KERNEL)) $(ARGS)

results:
	tests/vm/results renew

lint:
	@scripts/deps.sh build lint
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	clang-format --dry-run -Werror $(BPF)

fmt:
	@scripts/deps.sh lint
	cargo fmt
	clang-format -i $(BPF)

bench:
	@scripts/deps.sh build bench
	@$(MAKE) --no-print-directory $(PEERS)/bin/bandwhich
	cargo build --release --locked --examples
	cargo bench --locked --bench system -- $(ARGS)

# A peer that can't be built is shown as missing.
$(PEERS)/bin/bandwhich:
	-cargo install --quiet --root $(PEERS) --target-dir $(PEERS)/target bandwhich

# The picture in README.md, from the real program.
screenshot:
	@scripts/deps.sh build test
	cargo test --locked --test ui -- --ignored screenshot

clean:
	cargo clean
