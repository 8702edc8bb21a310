"""The command line's grammar of environments: checkouts, git, ports, HTTPS, backups."""

from __future__ import annotations

import argparse

from gaia_site.cli.grammar import (
    ENVIRONMENT,
    PORT,
    STAGES,
    Parser,
    Verbs,
    add_group,
    add_verb,
    add_yes,
    completed_by,
    number,
)


def add_environments(verbs: Verbs[Parser]) -> None:
    env = add_group(verbs, "env", "isolated checkouts with their own ports and databases")
    add_setup_arguments(add_verb(env, "setup", "env:setup", "make environments, or repair what is missing of them"))
    clean = add_verb(env, "clean", "env:clean", "remove environments; unpushed and uncommitted work is salvaged first")
    names = clean.add_argument(
        "names", nargs="*", default=[], metavar="NAME", help="dev1 …; default all of the project"
    )
    completed_by(names, ENVIRONMENT)
    clean.add_argument("--project", help="which project, when there are several")
    clean.add_argument("--dry-run", action="store_true", help="print what would be removed and do nothing")
    clean.add_argument("--detach", action="store_true", help="return at once; the operation goes on in the background")
    add_yes(clean)
    add_verb(env, "list", "env:list_", "environments with git state and stages")
    for name, run, text in (("launch", "env:launch", "start a stage"), ("stop", "env:stop", "stop a stage")):
        verb = add_verb(env, name, run, text)
        environment = verb.add_argument("name", metavar="NAME", help="environment, dev1 or demo-dev1")
        completed_by(environment, ENVIRONMENT)
        verb.add_argument("stage", nargs="?", default="dev", choices=STAGES, help="dev (default), qa or staging")
        verb.add_argument("--project", help="which project, when there are several")
    reset = add_verb(env, "reset", "backup:reset", "make environments anew; work and databases are saved first")
    which = reset.add_argument("names", nargs="*", default=[], metavar="NAME", help="dev1 …")
    completed_by(which, ENVIRONMENT)
    reset.add_argument("--all", action="store_true", help="every environment, of every project without --project")
    reset.add_argument("--project", help="which project, when there are several")
    add_yes(reset)
    mend = add_verb(
        env, "repair-database", "backup:repair_database", "salvage a stage's damaged database, make it again"
    )
    completed_by(mend.add_argument("name", metavar="NAME", help="environment, dev1 or demo-dev1"), ENVIRONMENT)
    mend.add_argument("stage", nargs="?", default="dev", choices=STAGES, help="dev (default), qa or staging")
    mend.add_argument("--project", help="which project, when there are several")
    mend.add_argument("--restart", action="store_true", help="stop the stage for it if it runs, and start it again")
    add_yes(mend)
    restore = add_verb(env, "restore", "env:restore", "bring salvaged work back into a checkout")
    restore.add_argument("salvage", nargs="?", metavar="SALVAGE", help="its name; without it the salvages are listed")
    restore.add_argument("--into", metavar="DIR", help="the checkout; default the environment it came from")
    _monitor(env)
    _snapshots(env)
    _git(add_group(env, "git", "git in an environment; what could be lost is in a snapshot first"))


def _monitor(env: Verbs[Parser]) -> None:
    monitor = add_verb(env, "monitor", "health:monitor", "look whether environments are well, and what mends them")
    names = monitor.add_argument("names", nargs="*", default=[], metavar="ENV", help="dev1 or demo-dev1; default all")
    completed_by(names, ENVIRONMENT)
    monitor.add_argument("--project", help="which project, when there are several")
    monitor.add_argument("--watch", action="store_true", help="look again and again until Ctrl-C")
    seconds = number("an interval in seconds", 1, 3600, float)
    monitor.add_argument("--interval", type=seconds, default=10.0, metavar="S", help="between looks (default 10)")


def _snapshots(env: Verbs[Parser]) -> None:
    snapshots = add_verb(
        env, "snapshots", "snapshots:snapshots", "how environments were before verbs of git; restore one"
    )
    of = snapshots.add_argument(
        "of", nargs="?", metavar="ENV", help="whose; default all. The word restore brings NAME back"
    )
    completed_by(of, ENVIRONMENT)
    snapshots.add_argument("name", nargs="?", metavar="NAME", help="the snapshot, shop-dev1/20250131T120000Z")
    snapshots.add_argument("--into", metavar="ENV", help="the environment; default the one it was taken of")
    snapshots.add_argument("--project", help="which project, when there are several")
    add_yes(snapshots)


def _git(git: Verbs[Parser]) -> None:
    """The verbs of `gaia env git`."""
    everywhere = "in all environments, or those of --project"
    status = _git_verb(git, "status", "branch, commits ahead and behind, changes, what is under way", every=everywhere)
    status.set_defaults(run="git_look:status")
    log = _git_verb(git, "log", "commits, newest first")
    log.set_defaults(run="git_look:log")
    count = number("a number of commits", 1, 1000)
    log.add_argument("-n", "--limit", type=count, default=20, metavar="N", help="how many (default 20)")
    log.add_argument("--since", default="", metavar="COMMIT", help="leave out what this branch or commit has")
    diff = _git_verb(git, "diff", "what differs, by default files against the last commit")
    diff.set_defaults(run="git_look:diff")
    against = diff.add_mutually_exclusive_group()
    against.add_argument("--staged", action="store_true", help="the index against the last commit")
    against.add_argument("--branch", action="store_true", help="commits and files since it left the default branch")
    against.add_argument("--against", metavar="REV", help="files against a branch, tag or commit")
    against.add_argument("--commit", metavar="REV", help="what one commit changed")
    diff.add_argument("--stat", action="store_true", help="only the files with their counts")
    commit = _git_verb(git, "commit", "commit what was changed, new files too")
    commit.add_argument("-m", "--message", action="append", required=True, metavar="TEXT", help="again: a paragraph")
    commit.add_argument("--staged", action="store_true", help="leave out what is not in the index")
    feature = _git_verb(git, "feature", "start a branch from the default branch, or check out the one there is")
    feature.add_argument("name", metavar="NAME", help="caching makes feature/caching; with a slash as it is")
    feature.add_argument("--base", default="", metavar="COMMIT", help="where it starts (default the default branch)")
    delete = _git_verb(git, "delete-branch", "delete a local branch; its commits are in a snapshot")
    delete.add_argument("branch", metavar="BRANCH", help="which; not the one that is checked out")
    _git_bringing_in(git, everywhere)
    _git_taking_back(git)


def _git_bringing_in(git: Verbs[Parser], everywhere: str) -> None:
    sync = _git_verb(git, "sync", "fetch the source and bring its default branch in", every=everywhere)
    pull = _git_verb(git, "pull", "bring in what others pushed to the same branch of the hub", every=everywhere)
    for verb in (sync, pull):
        verb.add_argument("--rebase", action="store_true", help="rebase instead of merge")
    rebase = _git_verb(git, "rebase", "put the branch's commits on top of the default branch")
    rebase.add_argument("--onto", default="", metavar="COMMIT", help="on top of another branch or commit")
    for verb in (sync, pull, rebase):
        ending = verb.add_mutually_exclusive_group()
        ending.add_argument("--continue", dest="proceed", action="store_true", help="go on after conflicts")
        ending.add_argument("--abort", action="store_true", help="give up and go back to how it was")
    proceed = _git_verb(git, "continue", "go on with the merge or rebase under way, once the files are edited")
    proceed.set_defaults(run="git:proceed")
    _git_verb(git, "abort", "give up the merge or rebase under way; what was resolved is in a snapshot")
    push = _git_verb(
        git, "push", "push the branch to the hub, and to the source if gaia.yaml says so", every=everywhere
    )
    push.add_argument(
        "--force-with-lease", action="store_true", help="after a rebase: replace what this checkout last saw there"
    )


def _git_taking_back(git: Verbs[Parser]) -> None:
    reset = _git_verb(git, "reset", "move the branch, or take back changes; how it was is in a snapshot")
    reset.add_argument("--to", default="HEAD", metavar="COMMIT", help="branch, tag or commit (default HEAD)")
    mode = reset.add_mutually_exclusive_group()
    for name, text in (("soft", "only the branch"), ("mixed", "also the index (default)"), ("hard", "also the files")):
        mode.add_argument(f"--{name}", dest="mode", action="store_const", const=name, default="mixed", help=text)
    clean = _git_verb(git, "clean", "remove files that git neither knows nor ignores; they are in a snapshot")
    clean.add_argument("--branches", action="store_true", help="delete branches that the default branch has, instead")
    for verb in (reset, clean):
        add_yes(verb)


def _git_verb(git: Verbs[Parser], name: str, text: str, *, every: str = "") -> Parser:
    verb = add_verb(git, name, f"git:{name.replace('-', '_')}", text)
    which = verb.add_argument(
        "environment", nargs="?", metavar="ENV", help="dev1 or shop-dev1; default where one stands"
    )
    completed_by(which, ENVIRONMENT)
    if every:
        verb.add_argument("--all", action="store_true", help=every)
    verb.add_argument("--project", help="which project, when there are several")
    return verb


def add_setup_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `gaia env setup` and `manage.py setup_envs`."""
    number_of = number("a number of environments", 0, 10**6)  # how many are too many, the plan says
    parser.add_argument("--count", type=number_of, metavar="N", help="how many (default: the setting, 5)")
    parser.add_argument("--source", help="path or URL; default the registered project, else where one stands")
    parser.add_argument("--project", help="name of the project; default from the source")
    parser.add_argument("--root", metavar="DIR", help="directory for the checkouts; default beside a local source")
    parser.add_argument("--base-port", type=PORT, help="port of the first dev stage (default: the setting, 8081)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done and do nothing")
    parser.add_argument("--detach", action="store_true", help="return at once; the operation goes on in the background")
    parser.add_argument("--clean", action="store_true", help="remove them instead, salvaging unpushed work first")
    add_yes(parser)


def add_ports(verbs: Verbs[Parser]) -> None:
    ports = add_group(verbs, "ports", "ports of stages: who has which, free ones, moving; alone it lists them")
    add_verb(ports, "list", "ports:list_", "ports that are handed out, with who listens there; conflicts first")
    find = add_verb(ports, "find", "ports:find", "propose ports that are free and that no environment will ask for")
    count = number("a number of ports", 1, 100)
    find.add_argument("--count", type=count, default=1, metavar="N", help="how many (default 1)")
    move = add_verb(ports, "move", "ports:move", "give a stage another port")
    _stage_of_environment(move, "dev (default), qa or staging", default="dev")
    move.add_argument("--to", type=PORT, metavar="PORT", help="which (default: a free one is chosen)")
    move.add_argument("--restart", action="store_true", help="if it runs, stop it before and start it again after")


def add_https(verbs: Verbs[Parser]) -> None:
    https = add_group(verbs, "https", "HTTPS for stages, with a certificate authority of your own; alone it lists them")
    add_verb(https, "list", "https:list_", "the local authority, and environments with a certificate")
    for name, text in (("on", "have stages serve HTTPS"), ("off", "have stages serve plain HTTP again")):
        verb = add_verb(https, name, f"https:{name}", text)
        _stage_of_environment(verb, "dev, qa or staging (default: all of them)", default=None)
        verb.add_argument(
            "--restart", action="store_true", help="stop those that run before and start them again after"
        )
    add_verb(https, "trust", "https:trust", "print the commands by which systems and browsers trust the authority")
    ca = add_verb(https, "ca", "https:ca", "the authority's certificate; it is made when there is none")
    ca.add_argument("--path", action="store_true", help="print only where its file is")


def _stage_of_environment(verb: Parser, text: str, *, default: str | None) -> None:
    environment = verb.add_argument("name", metavar="NAME", help="environment, dev1 or demo-dev1")
    completed_by(environment, ENVIRONMENT)
    verb.add_argument("stage", nargs="?", default=default, choices=STAGES, help=text)
    verb.add_argument("--project", help="which project, when there are several")


def add_backups(verbs: Verbs[Parser]) -> None:
    backup = add_group(verbs, "backup", "backups of databases: the stages' and GAIA's own")
    take = add_verb(backup, "take", "backup:take", "take backups now and verify them by restoring them")
    environment = take.add_argument("environment", nargs="?", metavar="ENV", help="dev1 or shop-dev1: its stages'")
    completed_by(environment, ENVIRONMENT)
    take.add_argument("stage", nargs="?", metavar="STAGE", choices=STAGES, help="only this stage's: dev, qa or staging")
    take.add_argument("--all", action="store_true", help="every database, GAIA's own too")
    take.add_argument("--gaia", action="store_true", help="GAIA's own database")
    list_ = add_verb(backup, "list", "backup:list_", "backups, newest first")
    listed = list_.add_argument("environment", nargs="?", metavar="ENV", help="only those of this environment's stages")
    completed_by(listed, ENVIRONMENT)
    list_.add_argument("--all", action="store_true", help="deleted ones, too")
    restore = add_verb(backup, "restore", "backup:restore", "put one in the place of its database, backed up before")
    restore.add_argument("name", metavar="NAME", help="which; gaia means the newest of GAIA's own, with GAIA down")
    restore.add_argument("stage", nargs="?", metavar="STAGE", choices=STAGES, help="with --latest: default dev")
    restore.add_argument("--latest", action="store_true", help="NAME is an environment: its newest one")
    restore.add_argument("--restart", action="store_true", help="stop the stage for it if it runs, and start it again")
    add_yes(restore)
    for verb in (take, list_, restore):
        verb.add_argument("--project", help="which project, when there are several")
    for name, text in (("show", "what one is, and what restoring it would change"), ("verify", "verify one again")):
        add_verb(backup, name, f"backup:{name}", text).add_argument("name", metavar="NAME", help="which")
    delete = add_verb(backup, "delete", "backup:delete", "delete backups")
    delete.add_argument("names", nargs="+", metavar="NAME", help="which")
    add_yes(delete)
