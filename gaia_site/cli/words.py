"""Other ways to say a verb. Apart from the grammar, which takes longer to import than the fast pictures to draw."""

from __future__ import annotations

_LISTED = {"ports", "https", "layer"}
_FLAGS = {"--group-status": "group-status", "--multi-env-status": "multi-env-status", "--watch": "watch"}


def normalise(words: list[str]) -> list[str]:
    """`gaia --group-status` is a verb, too; `gaia help VERB` is `gaia VERB --help`, and `gaia ports` is its list."""
    if words and words[0] == "help":
        return [*words[1:], "--help"]
    if words and words[0] in _LISTED and not any(word in {"-h", "--help"} or word[:1] != "-" for word in words[1:]):
        return [words[0], "list", *words[1:]]
    for place, word in enumerate(words):
        if word in _FLAGS:
            return [_FLAGS[word], *words[:place], *words[place + 1 :]]
        if not word.startswith("-"):
            break
    return words
