"""The grammar of layers and of the doctor."""

from __future__ import annotations

import argparse
import re

from gaia_site.cli.grammar import ENVIRONMENT, Parser, Verbs, add_group, add_verb, add_yes, completed_by

_RANGE = re.compile(r"(?P<first>\d{1,5})[-:](?P<last>\d{1,5})")


def add_layers(verbs: Verbs[Parser]) -> None:
    layer = add_group(verbs, "layer", "layers: what environments stand on; alone it lists them")
    add_verb(layer, "list", "layer:list_", "layers, with engine, ports, MCP servers and environments")
    show = add_verb(layer, "show", "layer:show", "everything about one layer")
    show.add_argument("name", metavar="LAYER", help="which")
    set_ = add_verb(layer, "set", "layer:set_", "put an environment into a layer, or bring it into agreement with it")
    completed_by(set_.add_argument("environment", metavar="ENV", help="dev1 or demo-dev1"), ENVIRONMENT)
    set_.add_argument("layer", metavar="LAYER", help="local, integration, staging, production or one of your own")
    set_.add_argument("--dry-run", action="store_true", help="print what would be done and do nothing")
    set_.add_argument("--restart", action="store_true", help="stop stages that run before and start them again after")
    set_.add_argument("--project", help="which project, when there are several")
    drift = add_verb(layer, "drift", "layer:drift", "what of environments is not as their layer says")
    named = drift.add_argument("environment", nargs="?", metavar="ENV", help="only this one")
    completed_by(named, ENVIRONMENT)
    drift.add_argument("--project", help="which project, when there are several")
    for name, text in (("add", "make a layer of your own"), ("change", "change what a layer is")):
        verb = add_verb(layer, name, f"layer:{name}", text)
        verb.add_argument("name", metavar="LAYER", help="its name")
        _add_fields(verb)
    remove = add_verb(layer, "remove", "layer:remove", "forget a layer that no environment is in")
    remove.add_argument("name", metavar="LAYER", help="which")
    add_yes(remove)


def _add_fields(verb: Parser) -> None:
    verb.add_argument("--purpose", metavar="TEXT", help="what it is for, one line")
    verb.add_argument("--engine", choices=("sqlite", "postgresql"), help="what keeps its stages' data")
    verb.add_argument("--ports", type=_ports, metavar="FIRST-LAST", help="range of its stages' ports; none: their own")
    verb.add_argument("--mcp", choices=("off", "basic", "all"), help="MCP servers its environments may use")
    verb.add_argument(
        "--mcp-server", action="append", metavar="NAME", help="a basic one; all that are said replace those now"
    )
    verb.add_argument("--service", action="append", metavar="NAME", help="a service that should run for it; adds one")
    verb.add_argument("--no-service", action="append", metavar="NAME", help="take one of them out")
    needs = ("redis", "vector", "backups", "monitoring")
    verb.add_argument("--need", action="append", choices=needs, help="what else it stands on; adds one")
    verb.add_argument("--no-need", action="append", choices=needs, help="take one of them out")
    verb.add_argument("--set", action="append", metavar="NAME=VALUE", help="a variable its stages find; adds one")
    verb.add_argument("--unset", action="append", metavar="NAME", help="take a variable out")
    verb.add_argument("--postgresql-url", metavar="URL", help="its own server; - reads standard input, '' forgets it")
    verb.add_argument("--production", choices=("yes", "no"), help="its data is kept from every other layer")


def add_doctor(verbs: Verbs[Parser]) -> None:
    doctor = add_verb(verbs, "doctor", "doctor:doctor", "what is not as it should be, and the command that mends it")
    which = doctor.add_mutually_exclusive_group()
    which.add_argument("--verify", action="store_true", help="the quick check before a start, within two seconds")
    which.add_argument("--comprehensive", action="store_true", help="everything, backups restored in a scratch place")
    which.add_argument("--production-ready", action="store_true", help="and what a machine that others reach must have")
    which.add_argument("--ports", action="store_true", help="only ports: who has those that are handed out")


def _ports(text: str) -> tuple[int | None, int | None]:
    if text == "none":
        return None, None
    found = _RANGE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no range of ports; write it like 8000-8044, or none")
    return int(found["first"]), int(found["last"])
