"""`gaia completion bash|zsh`: the grammar as a completion script."""

from __future__ import annotations

import argparse
from argparse import Namespace
from dataclasses import dataclass, field

from gaia_site.cli.arguments import build_parser

_BASH = """# gaia completion for bash:  source <(gaia completion bash)
_gaia_sessions() {
    "$1" group-status --json 2>/dev/null | tr '{,' '\\n\\n' | sed -n 's/^ *"name": "\\(.*\\)".*/\\1/p'
}
_gaia_environments() {
    "$1" multi-env-status --json 2>/dev/null | tr '{,' '\\n\\n' | sed -n 's/^ *"directory": "\\(.*\\)".*/\\1/p'
}
_gaia_services() {
    "$1" service list --json 2>/dev/null | tr '{,' '\\n\\n' |
        awk -F'"' '/^ *"id":/ { one = 1; next } one && /^ *"name":/ { print $4 } { one = 0 }'
}
_gaia_is_verb() {
    case $1 in
    @VERBS@) return 0 ;;
    esac
    return 1
}
_gaia() {
    local current=${COMP_WORDS[COMP_CWORD]} path="" given=0 options="" names="" many="" word
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
        -*) continue ;;
        esac
        if _gaia_is_verb "${path:+$path }$word"; then path="${path:+$path }$word"; else given=$((given + 1)); fi
    done
    case $path in
@CASES@
    esac
    if [ -n "$names" ] && [[ $current != -* ]] && { [ "$given" = 0 ] || [ -n "$many" ]; }; then
        options="$options $("$names" "${COMP_WORDS[0]}")"
    fi
    COMPREPLY=($(compgen -W "$options" -- "$current"))
}
complete -o default -F _gaia gaia ./gaia
"""
_ZSH = "# gaia completion for zsh:  source <(gaia completion zsh)\nautoload -U +X bashcompinit && bashcompinit\n"


@dataclass
class _Place:
    """A verb path, the words that may follow it, and whose names complete its first argument, or every one."""

    path: str
    words: list[str] = field(default_factory=list)
    names: str = ""
    many: bool = False
    group: bool = False


def completion(arguments: Namespace) -> int:
    """Print the script. Returns: the exit code."""
    places = _walk(build_parser(), "")
    script = _BASH.replace("@CASES@", "\n".join(map(_case, places)))
    script = script.replace("@VERBS@", "|".join(f'"{place.path}"' for place in places if place.path))
    print(_ZSH + script if arguments.shell == "zsh" else script, end="")
    return 0


def _case(place: _Place) -> str:
    text = f'    "{place.path}") options="{" ".join(place.words)}"'
    if place.group:
        text += '; [ "$given" = 0 ] || options=""'  # a verb there is not: nothing can follow it
    if place.names:
        text += f"; names=_gaia_{place.names}" + ("; many=1" if place.many else "")
    return f"{text} ;;"


def _walk(parser: argparse.ArgumentParser, path: str) -> list[_Place]:
    """Every verb path there is."""
    place, deeper = _Place(path), list[_Place]()
    for action in parser._actions:
        place.words += [option for option in action.option_strings if option.startswith("--")]
        if isinstance(action, argparse._SubParsersAction):
            place.group = True
            for name, child in action.choices.items():
                place.words.append(name)
                deeper += _walk(child, f"{path} {name}".strip())
        elif action.choices and not action.option_strings:
            place.words += [str(choice) for choice in action.choices]
        names = getattr(action, "completed_by", "")
        if names and not action.option_strings:
            place.names, place.many = names, action.nargs in ("*", "+")
    return [place, *deeper]
