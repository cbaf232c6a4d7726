# The commands of the project: the same for people and for CI (.ci/run).
#   make demo    the main job on the embedded store      make test    all tests
#   make bench   the figures, target/bench.json          make check   format, lints, licences, docs
#   make soak    many simulated and real faults          make guests  only build the guests' software
#   make guest-debian  only build the Debian guest (minutes the first time)
# Each installs what it misses when it runs as root on Debian (tests/install); otherwise it says what is missing.

CARGO ?= cargo
# make soak: simulated clusters, nodes killed in a row during real transfers, and rounds of faults for Debian's services and
# for a database of three servers
SEEDS ?= 2000
ROUNDS ?= 20
# nextest where it is installed; plain cargo test otherwise, end-to-end tests one at a time
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)

.PHONY: demo test bench check soak guests guest-debian clients install-build install-debian install-test install-soak

# What is built on the way is told on standard error: standard output belongs to the demo (DEMO="--json").
# DEMO="--guest ldap" and DEMO="--guest mail" need Debian and the clients' libraries, too.
demo: guests $(if $(findstring ldap,$(DEMO))$(findstring mail,$(DEMO)),guest-debian clients)
	@$(CARGO) build --release --bin quorate
	@$(CARGO) run --release --quiet -- demo $(DEMO)

guests: install-build
	@tests/guests/freertos/build >&2

guest-debian: install-debian
	@tests/guests/debian/build >&2

clients: install-test
	@tests/clients/python >&2

# Examples in the documentation first, so that the closing line is that of the tests.
test: guests guest-debian clients
	$(CARGO) test --release --workspace --doc --quiet
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --release --workspace --config-file tests/nextest.toml
else
	$(CARGO) test --release --workspace --lib --bins --tests -- --test-threads=1
endif

bench: guests guest-debian clients
	$(CARGO) bench --bench figures

check: install-build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps --document-private-items
	$(CARGO) test --release --quiet --test licences

soak: guests guest-debian clients install-soak
	QUORATE_SEEDS=$(SEEDS) $(CARGO) test --release --test simulation -- --nocapture
	QUORATE_ROUNDS=$(ROUNDS) $(CARGO) test --release --test end_to_end -- --nocapture --test-threads=1 --include-ignored \
		kills_in_a_row every_fault every_primary

install-build:
	@tests/install build

install-debian:
	@tests/install debian

install-test:
	@tests/install test

install-soak:
	@tests/install soak
