"""The grammar of `gaia mcp`."""

from __future__ import annotations

from gaia_site.cli.grammar import ENVIRONMENT, Parser, Verbs, add_group, add_verb, completed_by


def add_mcp(verbs: Verbs[Parser]) -> None:
    mcp = add_group(verbs, "mcp", "MCP servers, and what agents are told of them")
    add_verb(mcp, "status", "mcp:status", "MCP servers: tools, last check, limits; exit code 1: one is not well")
    add_verb(mcp, "list", "mcp:list_", "MCP servers in a line each: name, transport, address")
    config = add_verb(mcp, "config", "mcp:config", "what a session's .mcp.json says", json=False)
    completed_by(config.add_argument("name", metavar="NAME", help="a session, or an environment"), ENVIRONMENT)
    config.add_argument("--write", action="store_true", help="write it into the environment's checkout now")
    config.add_argument("--json", action="store_true", help="only that, without remarks")
