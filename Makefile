# Everything that people and CI run here. `make` alone says what there is.

.PHONY: help demo bench-pause sim model test test-power test-matrix test-api verify fix clean-sandbox fuzz

help:
	@echo 'make demo           see Flocker move a database on this machine (root or sudo)'
	@echo 'make bench-pause    measure the pause of a move beside a bare script (root or sudo)'
	@echo 'make test           install what is missing and run every test (root or sudo)'
	@echo 'make test-power     pull the plug of virtual machines during moves; hours (root or sudo)'
	@echo 'make test-matrix    crash every step of every operation, as far as MATRIX_MINUTES go (root or sudo)'
	@echo 'make test-api       send a running cluster requests made from docs/openapi.json (root or sudo)'
	@echo 'make verify         the gate: format, lints, documentation, unit tests, house rules; changes nothing'
	@echo 'make sim            run the simulator over 20,000 seeds (SEEDS=A..B for others); needs no root'
	@echo 'make model          explore every order of events of a move, with two faults and with bugs put back; needs no root'
	@echo 'make fix            put right what a program can: format, some lints'
	@echo 'make fuzz           every fuzzer for FUZZ_SECONDS (60); one alone: scripts/fuzz.sh TARGET'
	@echo 'make clean-sandbox  take away every sandbox on this machine (root or sudo)'

demo:
	@scripts/demo.sh

bench-pause:
	@scripts/bench-pause.sh

test:
	@scripts/test.sh

test-power:
	@scripts/test-power.sh

test-matrix:
	@scripts/test-matrix.sh

test-api:
	@scripts/test-api.sh

verify:
	@scripts/verify.sh

SEEDS ?= 0..20000

sim:
	cargo run --locked --profile sim -p flocker-sim -- --seeds $(SEEDS)

model:
	cargo run --locked --profile sim -p flocker-model -- large
	cargo test --locked -p flocker-model --features mutants --test mutants

fix:
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all

clean-sandbox:
	@scripts/clean-sandbox.sh

fuzz:
	@scripts/fuzz.sh
