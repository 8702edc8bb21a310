"""A clean start: what was left behind is cleared, the quick check is made, and both are told before GAIA comes up."""

from __future__ import annotations

from typing import Any

from common.files import file_lock
from common.home import gaia_home
from gaia_site.cli import pictures
from gaia_site.cli.ground import say

_PATIENCE_S = 60.0


def clean_first() -> dict[str, Any]:
    """Clear what is stale, say what that was, and what the quick check finds; nothing that lives is touched.

    Returns: `{cleared, findings}`. A finding does not keep GAIA from starting: the start says itself what it cannot do.
    Raises: Conflict when another start is under way.
    """
    from gaia_site import cleaning
    from gaia_site.doctor.checks import Depth
    from gaia_site.doctor.examination import examine

    with file_lock(gaia_home().locks / "up.lock", timeout=_PATIENCE_S, what="the start of GAIA"):
        cleared = cleaning.clean()
    for left in cleared:
        say(f"Cleared: {left.what}")
    if not cleared:
        say("Nothing was left behind.")
    report = examine(Depth.VERIFY)
    findings = [each for each in report["findings"] if each["key"] != "parts.down"]  # it is about to come up
    for each in findings:
        say(f"{pictures.icon(each['verdict'])} {each['what']}")
        if each["fix"]:
            say(f"  {each['fix']}")
    return {"cleared": [left.as_dict() for left in cleared], "findings": findings}
