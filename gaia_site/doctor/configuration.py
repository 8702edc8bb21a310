"""The settings: mistakes in config.toml and in the environment, and what Django's system checks say."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator

from common import config
from common.config import Problem
from common.home import gaia_home
from environments.findings import Finding
from gaia_site.doctor.checks import EVERY, Check, Needs, failed, warning

_AT_LINE = re.compile(r"\(at line (\d+)")
_MEANING = "It is not in force: its default is."


def check_settings() -> Iterator[Finding]:
    """Everything that is written there is a setting with a value that it can have."""
    for problem in config.load().problems:
        yield failed("settings", "mistake", f"{problem.message}. {problem.hint}", _MEANING, _fix(problem), problem.key)


def _fix(problem: Problem) -> str:
    file = gaia_home().config_file
    if problem.key in os.environ or problem.message.startswith("GAIA_"):
        return f"unset {problem.message.partition(':')[0] if ':' in problem.message else problem.key}"
    if problem.key != "config.toml":
        return f"gaia config {shlex.quote(problem.key)} --unset"
    where = _AT_LINE.search(problem.message)
    if where:
        return f"sed -i '{where[1]}s/^/# /' {shlex.quote(str(file))}"
    return f"mv {shlex.quote(str(file))} {shlex.quote(str(file))}.broken"


def check_django() -> Iterator[Finding]:
    """Django's system checks, GAIA's own among them; mistakes in the settings were told already."""
    yield from messages(deploy=False)


def messages(*, deploy: bool) -> Iterator[Finding]:
    """What Django's system checks say beyond what is told elsewhere.

    Args:
        deploy: those for a machine that others reach.
    """
    from django.core import checks

    said = checks.run_checks(include_deployment_checks=deploy)
    plain = {each.id for each in checks.run_checks()} if deploy else set()
    for each in said:
        if each.id == "gaia.E001" or each.id in plain or each.id in _TOLD_ELSEWHERE:
            continue
        tell = failed if each.is_serious() else warning
        yield tell("checks", str(each.id), each.msg.strip(), "", each.hint or "gaia manage check", str(each.id))


_TOLD_ELSEWHERE = {
    "gaia.W001",  # exposure: `hardening` has its fix
    "security.W004", "security.W008", "security.W012", "security.W016", "security.W018",  # as `hardening` says
    "security.W021",  # HSTS preloading is a decision about a whole domain
}  # fmt: skip

CHECKS = (
    Check("settings", check_settings, well="the settings have no mistakes"),
    Check("checks", check_django, EVERY, Needs.NOTHING, "Django's system checks say nothing"),
)
