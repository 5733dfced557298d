#!/bin/sh
# `make soak`: the seeded simulator, memory undisturbed, then real programs under faults. The last line joins what was counted:
#   schedules N lost L doubled D; kills K lost L doubled D
# Exit status 0 only if all parts passed, both counted something, and nothing was lost or doubled.
#
# SOAK_SCHEDULES (100000), SOAK_SECONDS (600, of the memory part; 0 leaves it out), SOAK_ROUNDS (200), SOAK_SEED (of the rounds
# the clock, of the schedules 1), SOAK_TABLES (sqlite or postgres; default half and half) set what is done.
set -u
cd "$(dirname "$0")/../.."
mkdir -p .sightline
record=$(mktemp .sightline/soak-XXXXXX)
trap 'rm -f "$record" "$record.code"' EXIT
failed=0

# part NAME PATTERN COMMAND... : runs the command before our eyes; its last line that begins with PATTERN is left in $line.
part() {
    name=$1 pattern=$2
    shift 2
    printf '== %s\n' "$name"
    began=$(date +%s)
    { "$@"; echo $? >"$record.code"; } | tee "$record"
    line=$(grep "^$pattern " "$record" | tail -n 1)
    if [ "$(cat "$record.code")" -ne 0 ]; then
        printf 'soak: %s failed\n' "$name" >&2
        failed=1
    fi
    printf '== %s: %d s\n' "$name" "$(($(date +%s) - began))"
}

# The joint with the simulator: a program whose last line is `schedules N lost L doubled D`.
schedules() {
    if [ ! -x target/release/simulate ]; then
        echo 'soak: target/release/simulate is not built: no schedule was played' >&2
        return 1
    fi
    target/release/simulate --schedules "${SOAK_SCHEDULES:-100000}" --first "${SOAK_SEED:-1}"
}

rounds() {
    target/release/sightline-soak rounds --rounds "${SOAK_ROUNDS:-200}" \
        ${SOAK_SEED:+--seed "$SOAK_SEED"} ${SOAK_TABLES:+--tables "$SOAK_TABLES"}
}

part 'schedules in the simulator' schedules schedules
simulated=${line:-schedules 0 lost 0 doubled 0}
memory=''
if [ "${SOAK_SECONDS:-600}" -gt 0 ]; then
    part 'memory' memory: target/release/sightline-soak memory --seconds "${SOAK_SECONDS:-600}"
    memory=$line
fi
part 'real programs' kills rounds
killed=${line:-kills 0 lost 0 doubled 0}

# counted WORD LINE : whether LINE is `WORD N lost 0 doubled 0` with N above 0
counted() {
    case $2 in "$1 0 "*) return 1 ;; "$1 "*" lost 0 doubled 0") return 0 ;; esac
    return 1
}
counted schedules "$simulated" || failed=1
counted kills "$killed" || failed=1
[ -z "$memory" ] || printf '%s\n' "$memory"
printf '%s; %s\n' "$simulated" "$killed"
exit "$failed"
