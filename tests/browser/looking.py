"""A page as different people see it: wide and on a phone, light and dark; nothing breaks out, nothing is barred.

`GAIA_SCREENSHOTS` names a directory for pictures; without it none are taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

SIZES = {"wide": (1440, 900), "phone": (390, 844)}
SOME = (("wide", "light"), ("phone", "dark"))
"""Each size and each theme."""
EVERY = (*SOME, ("wide", "dark"), ("phone", "light"))

# Of axe's rules those that can find something serious, by their own impact or that of one of their checks.
_SERIOUS_RULES = """
const grave = (impact) => ["serious", "critical"].includes(impact);
const ofCheck = (check) => axe._audit.data.checks[check.id ?? check]?.impact;
const rules = axe._audit.rules.filter((rule) => rule.enabled && !rule.tags.includes("experimental") &&
    (grave(rule.impact) || [...rule.any, ...rule.all, ...rule.none].some((check) => grave(ofCheck(check)))));
"""
_LOOKS_LIKE = """
([width, theme]) => innerWidth === width && document.documentElement.classList.contains(theme) &&
    matchMedia(`(prefers-color-scheme: ${theme})`).matches
"""
# `preload` would fetch every style sheet again, for rules that look at films.
_RUN = f"""
(colours) => {{
    {_SERIOUS_RULES}
    const names = colours ? ["color-contrast", "link-in-text-block"] : rules.map((rule) => rule.id);
    return axe.run({{ runOnly: names, resultTypes: ["violations"], preload: false }}).then((found) => found.violations);
}}
"""


def look_everywhere(page: Page, name: str, combinations: Iterable[tuple[str, str]] = SOME) -> None:
    """In several sizes and themes: no sideways scroll, nothing serious for axe. Wide and light again afterwards.

    What a theme changes is colours: in the second one of a size axe looks at nothing else.
    """
    seen: set[str] = set()
    for size, theme in combinations:
        look_like(page, size, theme)
        take_picture(page, f"{name}-{size}-{theme}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{size} scrolls sideways"
        assert serious(page, colours_only=size in seen) == [], f"{size} {theme}"
        seen.add(size)
    look_like(page, "wide", "light")


def look_like(page: Page, size: str, theme: Any) -> None:
    """The same page in another window, for somebody who likes another theme and no motion."""
    width, height = SIZES[size]
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # nothing slides away for a while
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_function(_LOOKS_LIKE, arg=[width, theme])


def take_picture(page: Page, name: str, *, whole: bool = True) -> None:
    """A picture for people, where they asked for pictures."""
    if directory := os.environ.get("GAIA_SCREENSHOTS"):
        Path(directory).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(directory, f"{name}.png"), full_page=whole)


def serious(page: Page, *, colours_only: bool = False) -> list[str]:
    """What axe-core finds serious or critical, with the elements."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_axe())
    found = page.evaluate(_RUN, colours_only)
    return [
        f"{each['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}"
        for each in found
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]


@cache
def _axe() -> str:
    return str(Axe().axe_script)
