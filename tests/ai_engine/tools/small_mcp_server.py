"""A small MCP server, written with the SDK, that the tests start over stdio."""

from __future__ import annotations

import os
import time

from mcp.server.mcpserver import MCPServer

server = MCPServer("small")


@server.tool(description="Adds\ttwo  numbers.\u202e")
def add(a: int, b: int) -> str:
    return f"{a + b}"


@server.tool()
def broken() -> str:
    """Always fails."""
    raise ValueError("the ledger is closed")


@server.tool()
def secret() -> str:
    """Tells what it found in its environment."""
    return f"{os.environ.get('CRM_KEY', 'nothing')} {os.environ.get('UNRELATED', 'nothing')}"


@server.tool(name="die.now")
def die_now() -> str:
    """Ends the server."""
    os._exit(3)


@server.tool()
def stuck() -> str:
    """Never answers."""
    time.sleep(3600)
    return ""


if __name__ == "__main__":
    server.run()
