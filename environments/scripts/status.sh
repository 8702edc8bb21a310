#!/bin/sh
# Says which stages of this environment run: ./status.sh [--json]
# Works with GAIA down and changes nothing.
case $0 in */*) root=${0%/*}/ ;; *) root=. ;; esac
CDPATH='' cd -P -- "$root" || exit 1
root=${PWD%/.gaia}
cd -- "$root" || exit 1
. ./.gaia/stage.sh

line_of() ( # STAGE, what comes before it
    load_stage "$1"
    state='NOT RUNNING' pid='' code=''
    if is_running; then
        state=RUNNING
        find_attempt || pid=''
        find_url "$pid"
        code=$(http_code "$url$HEALTH_PATH")
    fi
    if [ "$format" = json ]; then
        [ -n "$2" ] || printf '{"project": "%s", "environment": "%s", "stages": [' "$GAIA_PROJECT" "$GAIA_ENVIRONMENT"
        [ "$state" = RUNNING ] && state=running || state=stopped
        [ -z "$code" ] || code=$((1$code - 1000))
        printf '%s{"name": "%s", "state": "%s", "pid": %s, "port": %s, "url": "%s", "health": %s}' \
            "$2" "$stage" "$state" "${pid:-null}" "$PORT" "$url" "${code:-null}"
    elif [ "$state" = RUNNING ]; then
        printf '%-8s %-11s  pid %-7s port %-5s  %s  health %s\n' "$stage" "$state" "${pid:-?}" "$PORT" "$url" "$code"
    else
        printf '%-8s %-11s  pid %-7s port %-5s  %s\n' "$stage" "$state" - "$PORT" "$url"
    fi
)

case ${1:-} in
    '') format=text ;;
    --json) format=json ;;
    *) fail 2 "usage: ./status.sh [--json]" ;;
esac
separator='' result=0
for name in $(stage_names); do
    line_of "$name" "$separator" || {
        result=$?
        continue
    }
    separator=', '
done
[ "$format" = text ] || [ -z "$separator" ] || printf ']}\n'
exit "$result"
