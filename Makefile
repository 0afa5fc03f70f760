# The two commands: `make demo` and `make test`. Everything else is a part of them, or a measurement.
.PHONY: demo test lint docs cases bench bench-keys bench-reclaim servers test-kills

CARGO ?= cargo
PYTHON ?= python3
CASES ?= ../shared/cases

demo: servers
	$(CARGO) build --release --quiet --bin unfrag
	$(PYTHON) scripts/demo.py target/release/unfrag

test: lint docs servers
	$(CARGO) build --quiet --bin unfrag
	$(CARGO) test --workspace --no-fail-fast
	@$(MAKE) --no-print-directory cases

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --quiet

# Diagnoses real incidents and scores them against the experts' verdicts.
cases:
	$(CARGO) run --quiet --package unfrag --example cases -- $(CASES)

# unfrag killed 210 times in the middle of a fix, on three servers under a writer.
test-kills: servers
	UNFRAG_KILLS=210 $(CARGO) test --package unfrag --test fix -- undo_after_kill_9 --nocapture

# One server, and a hundred at once: wall time and memory, beside redis-cli's for the same reading.
bench: servers
	$(CARGO) build --release --quiet --bin unfrag
	$(PYTHON) scripts/bench_check.py target/release/unfrag

# Bytes given back as a share of what a restart gives, beside three other ways. Takes an hour;
# `make bench-reclaim RECLAIM="redis-8.2.3 strings 400 unfrag"` is one row: servers, workloads, MiB filled, methods.
bench-reclaim: servers
	$(CARGO) build --release --quiet --bin unfrag
	$(CARGO) run --release --quiet --package unfrag --example bench_reclaim -- target/release/unfrag $(RECLAIM)

# Pattern report of 10 M keys, and of a live server with 1 M: beside the peers.
bench-keys: servers
	$(CARGO) build --release --quiet --bin unfrag
	$(PYTHON) scripts/bench_keys.py target/release/unfrag

servers:
	@$(PYTHON) scripts/servers.py
