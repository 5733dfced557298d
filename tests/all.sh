#!/bin/sh
# All tests, in the order in which a mistake is cheapest to find; says at the end how long each part took.
# The parts share one profile and one feature set with the demo: what one part compiled, the next does not.
set -u
cd "$(dirname "$0")/.."

workspace="--release --workspace --locked"
times=""
began=$(date +%s)

finish() {
    printf '\n%-34s %s\n' 'part' 'seconds'
    printf '%b' "$times"
    printf '%-34s %5d\n' 'all' "$(($(date +%s) - began))"
    exit "$1"
}

# part NAME COMMAND...
part() {
    name=$1
    shift
    printf '\n== %s\n' "$name"
    start=$(date +%s)
    "$@"
    code=$?
    took=$(($(date +%s) - start))
    times="$times$(printf '%-34s %5d' "$name" "$took")\n"
    if [ "$code" -ne 0 ]; then
        printf '\n%s: failed\n' "$name" >&2
        finish "$code"
    fi
}

tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run $workspace
    else
        cargo test $workspace --no-fail-fast
    fi
}

build() {
    cargo build $workspace && if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run $workspace --no-run
    else
        cargo test $workspace --no-run
    fi
}

part 'system packages' deploy/setup/packages.sh
part 'run-time files' deploy/setup/fetch.sh
part 'Python for the peers' make --no-print-directory peers
part 'Rust is here' make --no-print-directory rust
part 'formatting' cargo fmt --all --check
part 'clippy' cargo clippy $workspace --all-targets -- -D warnings
part 'build' build
part 'unit, property, golden, end to end' tests
finish 0
