"""A small MCP server, made with the official package: `python mcp_server.py stdio`, or `http PORT`."""

from __future__ import annotations

import os
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("gaia-test", version="1.4")


@server.tool()
def add(first: int, second: int) -> int:
    """The sum of two numbers."""
    return first + second


@server.tool()
def pid() -> int:
    """Which process answers."""
    return os.getpid()


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run()
    else:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
