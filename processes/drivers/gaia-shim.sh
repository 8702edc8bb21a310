#!/bin/sh
# GAIA's exit shim: runs one command in the foreground and journals that it began and how it ended.
#
#   sh gaia-shim.sh [-n FILES] [-g CGROUP] JOURNAL TOKEN CWD COMMAND [ARG...]
#
# -n: how many files each process of the command may have open. -g: directory of the cgroup it runs in; the shim does
# not enter it, so that it outlives a kill of the whole cgroup.
# The caller has flocked a lock file exclusively and left it open on fd 9. A flock belongs to the open file
# description, so this process keeps the lock for exactly as long as it lives: "lock held" means "still running".
# The journal gets `S TOKEN PID` before the command and `E TOKEN CODE` after it, one append each. A journal that
# cannot be written (disk full) changes nothing else; the exit code is the command's in any case.
# The caller also puts GAIA_ATTEMPT_TOKEN=TOKEN into the environment and starts this in a session of its own (setsid),
# so that stopping whatever the caller belongs to does not stop this.
# GAIA's daemon and the launch.sh of a checkout run this same file: plain POSIX sh (dash, busybox ash, bash).

note() {
    printf '%s %s %s\n' "$1" "$token" "$2" >>"$journal"
} 2>/dev/null

# Goes to where the journal really lies. Nothing here forks: a child would fall to a signal that this survives.
go_to_journal() {
    CDPATH='' cd -P -- "${journal%/*}/"
} 2>/dev/null

# The command may have been able to put a symlink in the place of the journal or its directory: what the caller looked at
# before the start is not followed anywhere else.
finish() {
    if go_to_journal && [ "$PWD" = "$there" ] && [ ! -L "$journal" ]; then
        note E "$1"
    fi
    exit "$1"
}

# Runs in the subshell that becomes the command. A dump of a big process would fill the disk: whoever wants one raises the
# limit again.
enter_limits() {
    ulimit -S -c 0 2>/dev/null
    if [ -n "$cgroup" ] && ! echo 0 >"$cgroup/cgroup.procs"; then
        echo "gaia-shim: cannot enter the cgroup $cgroup" >&2
        exit 126
    fi
    if [ -n "$files" ] && ! ulimit -n "$files"; then
        echo "gaia-shim: cannot limit open files to $files" >&2
        exit 126
    fi
}

# Everything is in a function, so that the shell has read the whole file before it runs any of it: an upgrade may
# overwrite the file under a process that runs for weeks.
main() {
    files= cgroup=
    while :; do
        case ${1-} in
        -n) files=$2 ;;
        -g) cgroup=$2 ;;
        *) break ;;
        esac
        shift 2
    done
    if [ "$#" -lt 4 ]; then
        echo 'usage: sh gaia-shim.sh [-n FILES] [-g CGROUP] JOURNAL TOKEN CWD COMMAND [ARG...]' >&2
        exit 64
    fi
    case $1 in /*) journal=$1 ;; *) journal=$PWD/$1 ;; esac
    case $3 in /*) cwd=$3 ;; *) cwd=$PWD/$3 ;; esac
    token=$2
    shift 3
    # Signals to the group are meant for the command; the shim stays to note how it ended. A handler (`:`) is reset
    # to the default in the command, whereas an ignored signal ('') would be ignored by the command as well.
    trap : TERM INT HUP QUIT USR1 USR2
    GAIA_ATTEMPT_TOKEN=$token # what descendants are recognised by, even in a session of their own
    export GAIA_ATTEMPT_TOKEN
    there=
    go_to_journal && there=$PWD
    note S "$$"
    if ! CDPATH='' cd -- "$cwd"; then
        echo "gaia-shim: cannot enter the directory $cwd" >&2
        finish 126
    fi
    unset OLDPWD
    # exec in a subshell: it is always a program, never a builtin or function of this shell, and fd 9 is closed for
    # it, or a daemonised grandchild would hold the lock. Not with `&`: POSIX lets such commands ignore SIGINT.
    (enter_limits && exec "$@") 9>&-
    finish "$?"
}

main "$@"; exit
