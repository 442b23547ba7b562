#!/usr/bin/env bash
# Fuzzes: `scripts/fuzz.sh [TARGET]`, all targets one after the other without an argument, each for
# FUZZ_SECONDS (60). With FUZZ_JOBS more of them run at a time. Installs cargo-fuzz if it is missing.
#
# On stable Rust: no sanitizer, which nightly alone has; what is looked for are panics, overflows, failed
# assertions, hangs and too much memory. What it finds is in fuzz/artifacts/TARGET/. New inputs that reach
# more code go to fuzz/work/TARGET/; `scripts/fuzz.sh --merge [TARGET]` takes the fewest of them that reach
# as much into fuzz/corpus/TARGET/.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_rust

FUZZ_SECONDS=${FUZZ_SECONDS:-60}
FUZZ_JOBS=${FUZZ_JOBS:-1}
RSS_LIMIT_MB=1024
# Of wall time: a machine that is busy with something else does not fail a run.
INPUT_SECONDS_MAX=60
INPUT_BYTES_MAX=16384
TRIPLE=$(rustc -vV | sed -n 's/^host: //p')

command -v cargo-fuzz >/dev/null || {
    say "installing cargo-fuzz"
    as_builder cargo install --locked cargo-fuzz
}
command -v g++ >/dev/null || die "libFuzzer needs a C++ compiler: apt-get install g++"

MODE=fuzz
if [ "${1:-}" = --merge ]; then
    MODE=merge
    shift
fi
targets() { sed -n 's/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml | grep -v '^flocker-fuzz$'; }
if [ $# -gt 0 ]; then
    targets | grep -qx "$1" || die "there is no target $1; there are: $(targets | tr '\n' ' ')"
    TARGETS=$1
else
    TARGETS=$(targets)
fi

(cd fuzz && as_builder cargo fuzz build --sanitizer none)

run_one() {
    local target=$1 kept=()
    local binary="$ROOT/fuzz/target/$TRIPLE/release/$target"
    mkdir -p "fuzz/work/$target" "fuzz/artifacts/$target" "fuzz/corpus/$target"
    [ ! -d "fuzz/regressions/$target" ] || kept=("fuzz/regressions/$target")
    if [ "$MODE" = merge ]; then
        local merged
        merged=$(mktemp -d)
        "$binary" -merge=1 -max_len="$INPUT_BYTES_MAX" "$merged" "fuzz/corpus/$target" "fuzz/work/$target"
        rm -rf "fuzz/corpus/$target"
        mv "$merged" "fuzz/corpus/$target"
        chmod 755 "fuzz/corpus/$target"
        return
    fi
    nice -n 19 "$binary" "fuzz/work/$target" "fuzz/corpus/$target" "${kept[@]}" \
        -max_total_time="$FUZZ_SECONDS" -rss_limit_mb="$RSS_LIMIT_MB" -timeout="$INPUT_SECONDS_MAX" \
        -max_len="$INPUT_BYTES_MAX" -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$target/" \
        >"fuzz/artifacts/$target.log" 2>&1 || {
        tail -40 "fuzz/artifacts/$target.log" >&2
        return 1
    }
    say "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "fuzz/artifacts/$target.log") executions"
}

if [ "$FUZZ_JOBS" = 1 ] || [ "$MODE" = merge ]; then
    for target in $TARGETS; do
        step "$target" run_one "$target"
    done
else
    export -f run_one say
    export ROOT TRIPLE MODE FUZZ_SECONDS RSS_LIMIT_MB INPUT_SECONDS_MAX INPUT_BYTES_MAX
    step fuzzers xargs -P "$FUZZ_JOBS" -I{} bash -c 'run_one {}' <<<"$TARGETS"
fi
end_of_steps
