"""Every relative link and picture of the documentation leads to a file, and to a heading in it, that is there."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_CODE = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)|(?P<ticks>`+)[^`].*?(?P=ticks)", re.DOTALL | re.MULTILINE)
_FENCED = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)", re.DOTALL | re.MULTILINE)
# [text](target "title"), ![text](target), [name]: target, and the src= and href= of pictures that are written as HTML
_TARGETS = (
    re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+[\"'][^)]*)?\)"),
    re.compile(r"^\[[^\]]+\]:\s+<?(\S+?)>?\s*$", re.MULTILINE),
    re.compile(r"<(?:img|a|source)\b[^>]*?\b(?:src|href|srcset)=[\"']([^\"'\s]+)"),
)


def targets(text: str) -> list[str]:
    """What a page links to, addresses of other sites left out."""
    prose = _CODE.sub("", text)
    found = [target for pattern in _TARGETS for target in pattern.findall(prose)]
    return [target for target in found if not urlsplit(target).scheme]


def anchors(text: str) -> set[str]:
    """The anchors GitHub gives a page's headings; the second of the same name gets a number."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?)(?: +#+)?$", _FENCED.sub("", text), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found | set(re.findall(r"<a\b[^>]*?\b(?:id|name)=[\"']([^\"']+)", text))


def broken(page: Path) -> list[str]:
    """The targets of a page that lead nowhere, or out of the repository."""
    found = []
    for target in targets(page.read_text(encoding="utf-8")):
        name, _, anchor = unquote(target).partition("#")
        file = (page.parent / name).resolve() if name else page
        there = file.is_relative_to(page.parents[1] if page.parent.name == "docs" else page.parent) and file.exists()
        if not there or (anchor and (file.suffix != ".md" or anchor not in anchors(file.read_text(encoding="utf-8")))):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_there_are_links_to_look_at() -> None:
    """Else nothing would have been tested: the picture of the first page and the pages it names are among them."""
    found = targets((ROOT / "README.md").read_text(encoding="utf-8"))
    assert any(target.startswith("docs/images/") for target in found)
    assert "docs/getting-started.md" in found


def test_what_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/other.md").write_text("# One thing\n## One thing\n## `gaia up` & more\n```\n# no heading\n```\n")
    page = tmp_path / "README.md"
    good = "docs/other.md#one-thing docs/other.md#one-thing-1 docs/other.md#gaia-up--more docs #here https://a.example"
    bad = "gone.md docs/gone.png docs/other.md#no-heading docs/other.md#one-thing-2 #gone ../outside.md"
    lines = [f"[x]({target})" for target in (good + " " + bad).split()]
    page.write_text("\n".join(["# Here", *lines, '<img src="gone.svg">', "[name]: gone.txt", "`[x](code.md)`"]))
    (tmp_path.parent / "outside.md").touch()
    assert broken(page) == [*bad.split(), "gone.txt", "gone.svg"]
