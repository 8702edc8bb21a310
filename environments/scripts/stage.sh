# What launch.sh, stop.sh, status.sh and sync.sh share. Plain POSIX sh, read with `.`; works with GAIA down.
# A stage runs while somebody holds the flock of .gaia/stages/STAGE.lock. GAIA's daemon uses the same lock and journal.
# shellcheck shell=sh

fail() { # CODE, what happened, what to do
    code=$1
    printf '%s\n' "$2" >&2
    [ -z "${3:-}" ] || printf '  %s\n' "$3" >&2
    exit "$code"
}

stage_names() {
    for file in .gaia/stages/*.env; do
        [ -f "$file" ] || continue
        file=${file##*/}
        printf '%s\n' "${file%.env}"
    done
}

# Reads KEY=VALUE lines as data: nothing in them is ever executed or expanded.
export_file() {
    [ -f "$1" ] || return 0
    return=$(printf '\r')
    while IFS= read -r line || [ -n "$line" ]; do
        line=${line%"$return"}
        case $line in 'export '*) line=${line#export } ;; esac
        case $line in *=*) ;; *) continue ;; esac
        key=${line%%=*} value=${line#*=}
        case $key in '' | [0-9]* | *[!A-Za-z0-9_]* | IFS) continue ;; esac
        case $value in
            \"*\") value=${value#\"} value=${value%\"} ;;
            \'*\') value=${value#\'} value=${value%\'} ;;
        esac
        command export "$key=$value" 2>/dev/null || : # a shell has names that nobody sets: UID in bash
    done <"$1"
}

# Whether a name of this checkout, its symlinks followed, lies outside of it: agents work here, and can put links.
leads_out() { # NAME
    case $1 in
        ../* | */../* | */.. | ..) return 0 ;;
        /*)
            ends_outside "$1"
            return
            ;;
    esac
    part=$1
    while [ ! -L "$part" ]; do
        case $part in
            */*) part=${part%/*} ;;
            *) return 1 ;; # nothing of it is a link, as usual
        esac
    done
    ends_outside "$1"
}

ends_outside() ( # NAME
    place=$1
    if [ -L "$place" ] && [ ! -d "$place" ]; then
        place=$(readlink -f -- "$place" 2>/dev/null) || return 0
    fi
    until [ -d "$place" ]; do # what is not there yet will be made in the directory above it
        [ ! -L "$place" ] || return 0
        case $place in
            /*/*) place=${place%/*} ;;
            /*) place=/ ;;
            */*) place=${place%/*} ;;
            *) place=. ;;
        esac
    done
    place=$(CDPATH='' cd -P -- "$place" 2>/dev/null && pwd -P) || return 0
    case $place/ in "$root"/*) return 1 ;; esac
    return 0
)

refuse_outside() { # NAME...
    for file in "$@"; do
        ! leads_out "$file" || fail 4 "$file leads out of this checkout." \
            'Remove the symlink or the changed line, then repair it: gaia env setup'
    done
}

# Prints what load_stage reads, a line each, at last whether the stage is to serve HTTPS: what GAIA says wins over
# .env.local, and that over the caller's environment. In a subshell: the variables that the project sets must not
# disturb this script's own, and one that a shell does not let be set must not end it.
stage_facts() (
    set -- "${USE_HTTPS:-}"
    unset USE_HTTPS
    . "./$stage_env" # GAIA writes this file itself and quotes every value
    printf '%s\n' "$GAIA_PROJECT" "$GAIA_ENVIRONMENT" "$PORT" "$HEALTH_PATH" "$DATABASE_PATH" "$LOG_FILE"
    if [ -z "${USE_HTTPS+set}" ]; then
        USE_HTTPS=$1
        export_file .env.local
        export_file .gaia/env.local
    fi
    ! is_yes "$USE_HTTPS" || printf 'https\n'
)

# Sets the variables of a stage; url as its next start will have it.
load_stage() {
    case $1 in '' | *[!A-Za-z0-9_-]*) fail 2 "There is no stage '$1'." "Stages: $(stage_names | tr '\n' ' ')" ;; esac
    stage=$1 stage_env=.gaia/stages/$1.env lock=.gaia/stages/$1.lock journal=$root/.gaia/stages/$1.journal
    [ -f "$stage_env" ] || fail 2 "There is no stage '$1'." "Stages: $(stage_names | tr '\n' ' ')"
    refuse_outside "$stage_env" "$lock" ".gaia/stages/$1.journal"
    {
        IFS= read -r GAIA_PROJECT
        IFS= read -r GAIA_ENVIRONMENT
        IFS= read -r PORT
        IFS= read -r HEALTH_PATH
        IFS= read -r database
        IFS= read -r log
        IFS= read -r scheme
    } <<END
$(stage_facts)
END
    [ -n "$PORT" ] || fail 2 "$stage_env cannot be read." 'Repair it: gaia env setup'
    url=${scheme:=http}://localhost:$PORT
    refuse_outside "$database"
    for log in "$log" "logs/$1.log" ".gaia/stages/$1.log" /dev/null; do
        leads_out "$log" || break
    done
}

is_yes() {
    case $1 in 1 | [Tt][Rr][Uu][Ee] | [Yy][Ee][Ss] | [Oo][Nn]) return 0 ;; esac
    return 1
}

# Sets url as the process with this pid was started. Browsers hand a host's cookies to all of its ports, so it is not
# the name under which GAIA's console is opened.
find_url() { # PID
    if [ -n "$1" ] && [ -r "/proc/$1/environ" ]; then
        scheme=http
        ! is_yes "$(tr '\0' '\n' 2>/dev/null <"/proc/$1/environ" | sed -n 's/^USE_HTTPS=//p')" || scheme=https
    fi
    url=$scheme://localhost:$PORT
}

# flock on fd 9, with -s for a look that disturbs nobody.
flock_9() {
    if command -v flock >/dev/null 2>&1; then
        flock -n "$@" 9
    elif command -v python3 >/dev/null 2>&1; then
        [ "$#" -eq 0 ] && kind=LOCK_EX || kind=LOCK_SH
        python3 -c "import fcntl; fcntl.flock(9, fcntl.$kind | fcntl.LOCK_NB)" 2>/dev/null
    else
        fail 6 'Neither flock nor python3 is installed.' 'Install util-linux or Python.'
    fi
}

is_running() {
    [ -f "$lock" ] || return 1
    ! flock_9 -s 9<"$lock"
}

# Sets pid and token of the attempt that holds the lock; fails when the journal cannot tell.
find_attempt() {
    tries=0
    while [ "$tries" -lt 20 ]; do
        last=$(tail -n 20 "$journal" 2>/dev/null | sed -n 's/.*S \([^ ]*\) \([0-9][0-9]*\)$/\1 \2/p' | tail -n 1)
        token=${last% *} pid=${last#* }
        if [ -n "$last" ] && belongs "$pid" "$token"; then return 0; fi
        is_running || break
        sleep 0.1 # it has the lock and has not written its pid yet
        tries=$((tries + 1))
    done
    pid='' token=''
    return 1
}

# Whether a pid still is the attempt's shim: pids are used again.
belongs() {
    kill -0 "$1" 2>/dev/null || return 1
    [ -r "/proc/$1/environ" ] || [ ! -d /proc/self ] || return 1
    [ ! -d /proc/self ] || tr '\0' '\n' 2>/dev/null <"/proc/$1/environ" | grep -qxF "GAIA_ATTEMPT_TOKEN=$2"
}

# Prints the pids of an attempt's live processes except the shim: its session, and whoever carries its token.
members() { # SHIM TOKEN
    if [ -d /proc/self ]; then
        marked=" $(grep -slaF "GAIA_ATTEMPT_TOKEN=$2" /proc/[0-9]*/environ 2>/dev/null | tr -dc '0-9\n' | tr '\n' ' ') "
        for stat in /proc/[0-9]*/stat; do
            IFS= read -r line 2>/dev/null <"$stat" || continue
            member=${stat#/proc/} member=${member%/stat}
            # the name in parentheses may hold anything: state, parent, group and session follow the last one
            # shellcheck disable=SC2086
            set -- "$1" "$2" ${line##*) }
            case $3 in Z | X) continue ;; esac
            case $marked in *" $member "*) ;; *) [ "$6" = "$1" ] || continue ;; esac
            case $member in "$1" | "$$") ;; *) printf '%s\n' "$member" ;; esac
        done
    else
        ps -A -o pid=,sess=,pgid=,stat= | while read -r member session group state; do
            case $state in Z*) continue ;; esac
            { [ "$session" = "$1" ] || [ "$group" = "$1" ]; } && [ "$member" != "$1" ] && printf '%s\n' "$member"
        done
    fi
}

# Whether somebody listens on a port.
port_taken() {
    if [ -r /proc/net/tcp ]; then
        hex=$(printf '%04X' "$1")
        cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q "^ *[0-9]*: [0-9A-F]*:$hex [0-9A-F]*:0000 0A "
    elif command -v lsof >/dev/null 2>&1; then
        lsof -nP -iTCP:"$1" -sTCP:LISTEN >/dev/null 2>&1
    else
        return 1
    fi
}

# Names who listens on a port, as well as that can be told.
port_holder() {
    holder=''
    if command -v ss >/dev/null 2>&1; then
        holder=$(ss -Hltnp "sport = :$1" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (pid \2)/p' | head -n 1)
    fi
    if [ -z "$holder" ] && command -v lsof >/dev/null 2>&1; then
        holder=$(lsof -nP -iTCP:"$1" -sTCP:LISTEN -Fpc 2>/dev/null | tr '\n' ' ' | sed -n 's/^p\([0-9]*\) c\([^ ]*\).*/\2 (pid \1)/p')
    fi
    if [ -z "$holder" ] && [ -r /proc/net/tcp ]; then
        hex=$(printf '%04X' "$1")
        inode=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port=":$hex" '$4 == "0A" && index($2, port) { print $10; exit }')
        for fd in /proc/[0-9]*/fd/*; do
            [ -n "$inode" ] && [ "$(readlink "$fd" 2>/dev/null)" = "socket:[$inode]" ] || continue
            owner=${fd#/proc/} owner=${owner%%/*}
            holder="$(cat "/proc/$owner/comm" 2>/dev/null) (pid $owner)"
            break
        done
    fi
    printf '%s\n' "${holder:-another process}"
}

# Prints the HTTP status of a URL, 000 when nobody answers within two seconds.
http_code() (
    unset http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY
    case $1 in https:*) ca=.gaia/tls/ca.pem ;; *) ca='' ;; esac # who answers must have the environment's certificate
    if command -v curl >/dev/null 2>&1; then
        curl -s -o /dev/null -m 2 -w '%{http_code}' ${ca:+--cacert "$ca"} -- "$1" 2>/dev/null || :
    elif command -v wget >/dev/null 2>&1; then
        # its exit code would also tell how the connection was closed, which is no matter
        code=$(wget -q -S -t 1 -T 2 -O /dev/null ${ca:+"--ca-certificate=$ca"} "$1" 2>&1 |
            sed -n 's/^ *HTTP\/[0-9.]* \([0-9][0-9][0-9]\).*/\1/p' | head -n 1)
        printf '%s' "${code:-000}"
    elif command -v python3 >/dev/null 2>&1; then
        python3 - "$1" "$ca" 2>/dev/null <<'END' || printf 000
import ssl, sys, urllib.error, urllib.request
trusted = ssl.create_default_context(cafile=sys.argv[2]) if sys.argv[2] else None
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=2, context=trusted).status, end="")
except urllib.error.HTTPError as error:
    print(error.code, end="")
END
    else
        printf 000
    fi
)
