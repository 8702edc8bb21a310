#!/bin/sh
# Stops a stage of this environment with everything it started, or all that run: ./stop.sh [dev|qa|staging]
# Works with GAIA down. Exit codes: 0 stopped or was not running, 1 something is left, 2 no such stage.
case $0 in */*) root=${0%/*}/ ;; *) root=. ;; esac
CDPATH='' cd -P -- "$root" || exit 1
root=${PWD%/.gaia}
cd -- "$root" || exit 1
. ./.gaia/stage.sh

# Waits until the stage has ended; at most the given tenths of a second.
ended_within() {
    tenths=0
    while is_running || [ -n "$(members "$pid" "$token")" ]; do
        [ "$tenths" -lt "$1" ] || return 1
        # what the command left behind in groups of its own gets its TERM when the command has gone
        is_running || signal_members TERM
        sleep 0.1
        tenths=$((tenths + 1))
    done
}

signal_members() {
    for member in $(members "$pid" "$token"); do
        kill -s "$1" "$member" 2>/dev/null
    done
}

# GAIA may be about to start again what has died by itself: it reads here that nobody wants it.
note_unwanted() {
    last=$(tail -n 20 "$journal" 2>/dev/null | sed -n 's/.*S \([^ ]*\) \([0-9][0-9]*\)$/\1 \2/p' | tail -n 1)
    [ -z "$last" ] || grep -qF "T $last" "$journal" || printf 'T %s\n' "$last" >>"$journal"
} 2>/dev/null

stop_stage() (
    load_stage "$1"
    if ! is_running; then # whoever has the last pid now is a stranger
        note_unwanted
        printf 'Stage %s is not running.\n' "$stage"
        exit 0
    fi
    find_attempt || fail 1 "Stage $stage runs, but its journal does not say as which process." "Look at $journal"
    # noted before it ends, or it would look as if it had failed
    { printf 'T %s %s\n' "$token" "$pid" >>"$journal"; } 2>/dev/null
    # to the group: the shim stays to note how the command ended
    kill -s TERM -- "-$pid" 2>/dev/null || kill -TERM "-$pid" 2>/dev/null
    if ! ended_within $((${GAIA_STOP_GRACE:-10} * 10)); then
        printf 'Stage %s did not end by itself and is killed.\n' "$stage" >&2
        signal_members KILL
        if ! ended_within 20; then
            signal_members KILL
            ! belongs "$pid" "$token" || kill -s KILL "$pid" 2>/dev/null
            ended_within 30 || fail 1 "Stage $stage: still there: $(members "$pid" "$token" | tr '\n' ' ')"
        fi
    fi
    if port_taken "$PORT"; then
        fail 1 "Stage $stage has ended, but port $PORT is taken by $(port_holder "$PORT")."
    fi
    printf 'Stage %s is stopped.\n' "$stage"
)

case ${1:---all} in
    --all | -a)
        result=0 ended=
        for name in $(stage_names); do
            said=$(stop_stage "$name") || result=$?
            case $said in
                '' | *' is not running.') ;;
                *) ended=yes && printf '%s\n' "$said" ;;
            esac
        done
        [ -n "$ended" ] || [ "$result" != 0 ] || printf 'No stage is running.\n'
        exit "$result"
        ;;
    *) stop_stage "$1" ;;
esac
