# The two commands: `make demo` and `make test`. Everything else is a part of them, or a measurement.
.PHONY: demo test lint docs cases servers bench bench-keys bench-reclaim bench-rdb bench-restart bench-watch \
	size-truth rdb-agreement fuzz-rdb test-kills test-supervised test-systemd test-podman test-docker replay soak-watch

CARGO ?= cargo
PYTHON ?= python3
CASES ?= ../shared/cases
# Tests wait for servers far more than they compute.
export RUST_TEST_THREADS ?= 4

demo: servers
	$(CARGO) build --release --quiet --bin unfrag
	$(PYTHON) scripts/demo.py target/release/unfrag

test: lint docs servers
	$(CARGO) test --workspace --no-fail-fast
	@$(MAKE) --no-print-directory cases

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --quiet

# Diagnoses real incidents and scores them against the experts' verdicts.
cases:
	$(CARGO) build --workspace --examples --quiet
	$${CARGO_TARGET_DIR:-target}/debug/examples/cases $(CASES)

# unfrag killed 210 times in the middle of a fix, on three servers under a writer.
test-kills: servers
	UNFRAG_KILLS=210 $(CARGO) test --package unfrag --test fix -- undo_after_kill_9 --nocapture

# unfrag killed at every step of a supervised swap, on four servers: half an hour.
test-supervised: servers
	$(CARGO) test --package unfrag-act --test restart -- --ignored killed_at_every_step --nocapture

# Restarts and `unfrag watch` under a real systemd, in namespaces of its own: takes root. `ONLY="swap ports"` picks trials.
test-systemd: servers
	$(CARGO) build --quiet --bin unfrag
	$(PYTHON) scripts/test_systemd.py target/debug/unfrag target/servers $(ONLY)

# Restarts of servers in real containers, in the same namespaces; the engine is brought where it is not installed (Debian).
test-podman test-docker: test-%: servers
	$(CARGO) build --quiet --bin unfrag
	$(PYTHON) scripts/test_containers.py target/debug/unfrag target/servers $* $(ONLY)

# One server, and a hundred at once: wall time and memory, beside redis-cli's for the same reading.
bench: servers
	$(CARGO) build --release --quiet --bin unfrag
	$(PYTHON) scripts/bench_check.py target/release/unfrag

# A restart in each mode beside the recipe people follow: longest gap and where it was spent, lost writes, RSS.
# `make bench-restart KEYS=5000000 SERVERS=redis-8.2.3 MODES=plain,swap` is a part of it with more keys.
bench-restart: servers
	$(CARGO) build --release --quiet --bin unfrag
	$(PYTHON) scripts/bench_restart.py target/release/unfrag \
	  $(or $(SERVERS),redis-7.0.15,redis-8.2.3,valkey-8.1.8,valkey-9.1.2) $(or $(KEYS),200000) \
	  $(or $(MODES),recipe,plain,rolling,swap)

# Bytes given back as a share of what a restart gives, beside three other ways. Takes an hour;
# `make bench-reclaim RECLAIM="redis-8.2.3 strings 400 unfrag"` is one row: servers, workloads, MiB filled, methods.
bench-reclaim: servers
	$(CARGO) build --release --quiet --bin unfrag
	$(CARGO) run --release --quiet --package unfrag --example bench_reclaim -- target/release/unfrag $(RECLAIM)

# Pattern report of 10 M keys, of a live server with 1 M, beside the peers; savings predicted and measured. KEYS="--only saving"
# is a part of it.
bench-keys: servers
	$(CARGO) build --release --quiet --bin unfrag
	$(PYTHON) scripts/bench_keys.py target/release/unfrag $(KEYS)

# A thousand targets: processor, memory, scrape, a day of history; beside prometheus-redis-exporter where it is installed.
bench-watch: servers
	$(CARGO) build --release --quiet --bin unfrag
	$(CARGO) build --release --quiet --package unfrag-watch --examples
	$(PYTHON) scripts/bench_watch.py target/release/unfrag target/release/examples target/servers

# A day of looks in a quarter of an hour, over real servers that hang, flap and move; SECONDS_SOAKED=120 for a trial.
soak-watch: servers
	$(CARGO) build --release --quiet --bin unfrag
	$(PYTHON) scripts/soak_watch.py target/release/unfrag target/servers

# Recorded histories and real incidents through the alerts, beside `ratio > 1.5 for 10m`.
replay:
	$(CARGO) run --quiet --package unfrag-watch --example replay -- $(CASES)

servers:
	@$(PYTHON) scripts/servers.py

# The RDB engine beside its peers on corpora that a real server writes (5 GB under target/bench-rdb, minutes to make).
# BENCH_SCALE=0.01 for a trial.
bench-rdb: servers
	$(PYTHON) scripts/bench_rdb.py --scale $${BENCH_SCALE:-1} --runs $${BENCH_RUNS:-3}

# Sizes against growth of used_memory on every server: the corpora, each kind of key, and single keys of each kind.
size-truth: servers
	$(CARGO) build --release --quiet --package unfrag-rdb --examples
	$(PYTHON) scripts/size_truth.py
	$(CARGO) test --quiet --package unfrag --test rdb_size -- --ignored

# Thousands of changed snapshots to unfrag and to redis-check-rdb of every server.
rdb-agreement: servers
	$(CARGO) build --release --quiet --package unfrag-rdb --examples
	$(PYTHON) scripts/check_agreement.py --files $${FILES:-2000}

# Mutates small snapshots for an hour; a finding stops it and stays as target/fuzz-rdb/fuzz-crash-NAME.
fuzz-rdb:
	$(CARGO) build --release --quiet --package unfrag-rdb --example fuzz
	mkdir -p target/fuzz-rdb
	cd target/fuzz-rdb && nice -n 19 ../release/examples/fuzz $${SECONDS_TO_FUZZ:-3600} ../../crates/rdb/fuzz/corpus/snapshot/*
