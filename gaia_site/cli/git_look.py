"""`gaia env git status`, `log` and `diff`: what git says, for people and as data."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gaia_site.cli import pictures
from gaia_site.cli.git import all_meant, meant
from gaia_site.cli.ground import say

if TYPE_CHECKING:
    from environments.models import Environment

_LETTERS = {"modified": "M", "added": "A", "deleted": "D", "renamed": "R", "copied": "C", "mode": "m"}
_SIGNS = {"context": " ", "added": "+", "removed": "-"}
_COLOURS = {"added": "32", "removed": "31", "hunk": "36", "head": "1", "quiet": "90"}
_BAR = 24
_NAMED = 44


def status(arguments: Namespace) -> int:
    """What git says of one environment, or of all. Returns: 0, or 1 when git does not answer in one of them."""
    environments = all_meant(arguments)
    from environments.actions import git_look
    from environments.git_overview import describe_status

    found = [describe_status(each, state) for each, state in git_look.states(environments).items()]
    code = 1 if any(each["error"] for each in found) else 0
    if arguments.json:
        print(json.dumps(found if arguments.all else found[0]))
        return code
    if not found:
        print("No environments. Make some: gaia env setup")
    for each in found:
        print("\n".join(_status_lines(each)))
    if not arguments.all and not code:
        _print_changes(environments[0])
    return code


def _status_lines(each: dict[str, Any]) -> Iterator[str]:
    waits = each["conflicts"] or each["in_progress"]
    sign = pictures.icon("failed" if each["error"] or waits else "ready")
    yield f"{sign} {each['environment']:<20} {pictures.git_facts(each)}".rstrip()
    if each["error"]:
        yield from pictures.wrapped("    ", each["error"])
    for name in each["conflict_files"]:
        yield f"    {_painted('conflict', 'removed')}  {name}"
    if each["in_progress"]:
        yield f"    go on:   gaia env git continue {each['environment']}"
        yield f"    give up: gaia env git abort {each['environment']}"


def _print_changes(environment: Environment) -> None:
    from environments.actions import git_look
    from environments.git_overview import describe_diff

    found = describe_diff(git_look.difference(environment), lines=False)
    for line in _stat_lines(found, indent="    "):
        print(line)


def log(arguments: Namespace) -> int:
    """Commits, newest first. Returns: the exit code."""
    environment = meant(arguments)
    from environments.actions import git_look
    from environments.git_overview import describe_commit

    found = git_look.commits(environment, limit=arguments.limit, since=arguments.since)
    if arguments.json:
        print(json.dumps([describe_commit(each) for each in found]))
        return 0
    for each in found:
        refs = f" ({each.refs})" if each.refs else ""
        when = f"{each.at.astimezone():%Y-%m-%d %H:%M}"
        print(f"{_painted(each.short, 'hunk')} {when} {each.author}: {each.subject}{_painted(refs, 'quiet')}")
    if not found:
        say("No commits.")
    return 0


def diff(arguments: Namespace) -> int:
    """What differs: in colours on a terminal, plain when piped. Returns: the exit code."""
    environment = meant(arguments)
    from environments.actions import git_look
    from environments.git_overview import describe_diff

    if arguments.commit:
        difference = git_look.commit_difference(environment, arguments.commit)
    else:
        named = "staged" if arguments.staged else "branch" if arguments.branch else arguments.against
        difference = git_look.difference(environment, against=named or "changes")
    found = describe_diff(difference, lines=not arguments.stat)
    if arguments.json:
        print(json.dumps(found))
        return 0
    for line in _stat_lines(found) if arguments.stat else _diff_lines(found):
        print(line)
    _say_what_is_missing(found, stat=arguments.stat)
    return 0


def _stat_lines(found: dict[str, Any], *, indent: str = "  ") -> Iterator[str]:
    """A line a file: what happened to it, its name, lines added and removed, and how that compares to the others."""
    most = max((file["added"] + file["removed"] for file in found["files"]), default=0)
    width = min(_NAMED, max((len(_name(file)) for file in found["files"]), default=0))
    for file in found["files"]:
        counts = "binary" if file["binary"] else f"+{file['added']} −{file['removed']}"
        bar = "" if file["binary"] else _bar(file, most)
        yield f"{indent}{_LETTERS[file['kind']]}  {_name(file):<{width}}  {counts:<12} {bar}".rstrip()
    for name in found["untracked"]:
        yield f"{indent}?  {name}"
    if found["files"]:
        count = "1 file" if len(found["files"]) == 1 else f"{len(found['files'])} files"
        yield f"{indent}{count}, +{found['added']} −{found['removed']}"


def _bar(file: dict[str, Any], most: int) -> str:
    """`+++--`: as long as the file changed more than others; whoever has any sign at all has one."""
    scale = min(1.0, _BAR / most) if most else 0.0
    signs = {kind: -int(-file[kind] * scale // 1) for kind in ("added", "removed")}
    return _painted("+" * signs["added"], "added") + _painted("-" * signs["removed"], "removed")


def _diff_lines(found: dict[str, Any]) -> Iterator[str]:
    for file in found["files"]:
        for text in _head_lines(file):
            yield _painted(text, "head")
        for hunk in file["hunks"]:
            yield _painted(_hunk_head(hunk), "hunk")
            for line in hunk["lines"]:
                yield _painted(_SIGNS[line["kind"]] + line["text"], line["kind"])
        if file["truncated"]:
            yield _painted(f"… {file['truncated']} further lines", "quiet")


def _head_lines(file: dict[str, Any]) -> Iterator[str]:
    old, new = file["old_path"] or file["path"], file["path"]
    yield f"diff --git a/{old} b/{new}"
    if file["kind"] in ("renamed", "copied"):
        word = "rename" if file["kind"] == "renamed" else "copy"
        yield f"{word} from {old}"
        yield f"{word} to {new}"
    elif file["kind"] == "mode":
        yield "mode changed"
    if file["binary"]:
        yield f"Binary files a/{old} and b/{new} differ"
    elif file["hunks"]:
        yield "--- /dev/null" if file["kind"] == "added" else f"--- a/{old}"
        yield "+++ /dev/null" if file["kind"] == "deleted" else f"+++ b/{new}"


def _hunk_head(hunk: dict[str, Any]) -> str:
    """`@@ -1,3 +1,4 @@ def main():`, from the lines that are shown."""
    spans = []
    for sign, side, without in (("-", "old", "added"), ("+", "new", "removed")):
        numbers = [line[side] for line in hunk["lines"] if line["kind"] != without]
        spans.append(f"{sign}{numbers[0] if numbers else 0},{len(numbers)}")
    return f"@@ {' '.join(spans)} @@ {hunk['context']}".rstrip()


def _say_what_is_missing(found: dict[str, Any], *, stat: bool) -> None:
    if not found["files"] and not found["untracked"]:
        say("Nothing differs.")
    if found["left_out"]:
        say(f"{found['left_out']} further files are too much to show.")
    if found["untracked"] and not stat:
        many = (
            "1 untracked file is" if len(found["untracked"]) == 1 else f"{len(found['untracked'])} untracked files are"
        )
        say(f"{many} not shown: --stat names them.")


def _name(file: dict[str, Any]) -> str:
    return f"{file['old_path']} → {file['path']}" if file["old_path"] else file["path"]


def _painted(text: str, colour: str) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if text and colour in _COLOURS and pictures.colour() else text
