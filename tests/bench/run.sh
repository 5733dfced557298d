#!/usr/bin/env bash
# Every benchmark, one after the other: `make bench`. Tables go to stdout; a missed bar is reported at the end, status 1.
# BENCH_ROUNDS (5; 3 for the gateways), LATENCY_SECONDS (60), MEMORY_MINUTES (10) and what the head of each program names
# set their lengths.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'bench: %s\n' "$*" >&2; }

command -v ffmpeg >/dev/null || deploy/setup/packages.sh ffmpeg # a peer
venv=.sightline/bench-venv
if ! cmp -s tests/bench/peers/requirements.txt "$venv/.ready"; then
  say 'installing the Python peers'
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/bench/peers/requirements.txt
  cp tests/bench/peers/requirements.txt "$venv/.ready"
fi

missed=()
for bench in preprocess engines elements pipeline latency outbox archive arrival gateways backlog training memory; do
  say "$bench"
  "target/release/bench-$bench" || missed+=("$bench")
done
if [ ${#missed[@]} -gt 0 ]; then
  say "bars missed in: ${missed[*]}"
  exit 1
fi
