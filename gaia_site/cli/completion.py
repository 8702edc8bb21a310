"""`gaia completion bash|zsh`: the grammar as a completion script."""

from __future__ import annotations

import argparse
from argparse import Namespace

from gaia_site.cli.arguments import build_parser

_BASH = """# gaia completion for bash:  source <(gaia completion bash)
_gaia() {{
    local words=("${{COMP_WORDS[@]:1:COMP_CWORD-1}}") path="" word
    for word in "${{words[@]}}"; do case $word in -*) ;; *) path="$path $word" ;; esac; done
    local options
    case "${{path# }}" in
{cases}
        *) options="" ;;
    esac
    COMPREPLY=($(compgen -W "$options" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _gaia gaia ./gaia
"""
_ZSH = "# gaia completion for zsh:  source <(gaia completion zsh)\nautoload -U +X bashcompinit && bashcompinit\n"


def completion(arguments: Namespace) -> int:
    """Print the script. Returns: the exit code."""
    cases = []
    for path, words in _walk(build_parser(), ""):
        pattern = f'"{path}"|"{path} "*' if path and not any(not word.startswith("-") for word in words) else f'"{path}"'
        cases.append(f'        {pattern}) options="{" ".join(words)}" ;;')
    script = _BASH.format(cases="\n".join(cases))
    print(_ZSH + script if arguments.shell == "zsh" else script, end="")
    return 0


def _walk(parser: argparse.ArgumentParser, path: str) -> list[tuple[str, list[str]]]:
    """Every verb path with the words that may follow it."""
    words: list[str] = []
    deeper: list[tuple[str, list[str]]] = []
    for action in parser._actions:
        words += [option for option in action.option_strings if option.startswith("--")]
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                words.append(name)
                deeper += _walk(child, f"{path} {name}".strip())
        elif action.choices and not action.option_strings:
            words += [str(choice) for choice in action.choices]
    return [(path, words), *deeper]
