#!/bin/sh
# Starts a stage of this environment and waits until it answers: ./launch.sh [dev|qa|staging]
# Works with GAIA down; GAIA sees what it did. Exit codes: 0 runs, 1 died, 2 no such stage, 4 port taken, 6 no answer.
case $0 in */*) root=${0%/*}/ ;; *) root=. ;; esac
CDPATH='' cd -P -- "$root" || exit 1
root=${PWD%/.gaia}
cd -- "$root" || exit 1
. ./.gaia/stage.sh

show_log() {
    [ -s "$log" ] || return 0
    printf 'The last lines of %s:\n' "$log" >&2
    tail -n 20 -- "$log" | sed 's/^/  /' >&2
}

already_runs() {
    find_attempt || fail 4 "Stage $stage is just being started by another launch."
    find_url "$pid"
    printf 'Stage %s is already running: %s (pid %s)\n' "$stage" "$url" "$pid"
    exit 0
}

new_token() {
    random=$(od -An -N8 -tx1 /dev/urandom 2>/dev/null | tr -dc 'a-f0-9')
    printf 'script-%s-%s-%s' "$(date +%s)" "$$" "${random:-0}"
}

# `&` would let the command ignore Ctrl-C for good, so setsid forks itself wherever it can.
detached() {
    if setsid -f true 2>/dev/null; then
        setsid -f "$@"
    elif command -v setsid >/dev/null 2>&1; then
        setsid "$@" &
    elif command -v python3 >/dev/null 2>&1; then
        python3 -c 'import os, sys
if os.fork() == 0:
    os.setsid()
    os.set_inheritable(9, True)
    os.execvp(sys.argv[1], sys.argv[1:])' "$@"
    else
        fail 6 'Neither setsid nor python3 is installed.' 'Install util-linux or Python.'
    fi
}

# In a subshell, so that no variable of .env.local disturbs this script; what GAIA sets wins over it.
run_command() ( # TOKEN JOURNAL ROOT STAGE_ENV LOG
    export_file .env.local
    export_file .gaia/env.local
    set -a
    . "./$4"
    DATABASE_PATH=$3/$DATABASE_PATH LOG_FILE=$5 GAIA_ATTEMPT_TOKEN=$1
    ! is_yes "${USE_HTTPS:-}" || TLS_CERT=$3/.gaia/tls/cert.pem TLS_KEY=$3/.gaia/tls/key.pem
    detached sh .gaia/shim "$2" "$1" "$3" sh -c "$COMMAND"
)

wait_for_answer() {
    tries=0 limit=$((${GAIA_LAUNCH_WAIT:-15} * 5))
    while is_running; do
        if [ "$(http_code "$url$HEALTH_PATH")" = 200 ]; then return 0; fi
        tries=$((tries + 1))
        [ "$tries" -lt "$limit" ] || return 6
        [ ! -t 1 ] || [ $((tries % 5)) -ne 0 ] || printf '.'
        sleep 0.2
    done
    return 1
}

load_stage "${1:-dev}"
for file in gaia.yaml gaia.yml; do
    [ ! -f "$file" ] || [ -z "$(find "$file" -newer "$stage_env")" ] ||
        printf '%s has changed since GAIA last read it; gaia env setup takes it over.\n' "$file" >&2
done

case $url in https:*)
    refuse_outside .gaia/tls/cert.pem .gaia/tls/key.pem .gaia/tls/ca.pem
    { [ -r .gaia/tls/cert.pem ] && [ -r .gaia/tls/key.pem ]; } ||
        fail 6 "Stage $stage is to serve HTTPS (USE_HTTPS), and its environment has no certificate yet." \
            "Have one made: gaia https on $GAIA_ENVIRONMENT $stage"
    ;;
esac

mkdir -p "$(dirname -- "$log")"
(umask 077 && : >>"$log") || exit 1
exec 9>>"$lock"
if ! flock_9; then
    sleep 0.3 # somebody may only have been looking
    flock_9 || already_runs
fi
if port_taken "$PORT"; then
    fail 4 "Port $PORT of stage $stage is taken by $(port_holder "$PORT")." \
        "Stop that process, or move the stage: gaia ports move $GAIA_ENVIRONMENT $stage"
fi
run_command "$(new_token)" "$journal" "$root" "$stage_env" "$log" </dev/null >>"$log" 2>&1
exec 9>&- # from here on only the stage itself holds the lock

wait_for_answer
result=$?
[ ! -t 1 ] || printf '\n'
case $result in
    0) find_attempt && printf 'Stage %s is running: %s (pid %s)\n' "$stage" "$url" "$pid" ;;
    6)
        find_attempt
        hint=''
        case $url in https:*) hint='Does it serve HTTPS with the files that TLS_CERT and TLS_KEY name? ' ;; esac
        fail 6 "Stage $stage is running (pid ${pid:-unknown}) but $url$HEALTH_PATH does not answer 200 yet." \
            "${hint}Look at $log, or stop it: ./stop.sh $stage"
        ;;
    *)
        show_log
        fail 1 "Stage $stage ended while it was starting."
        ;;
esac
