#!/usr/bin/env bash
# The Python MCP SDK refuses an optional string argument if the string happens to be JSON.
#
# Expected: a tool with `manifest: str | None = None` publishes the schema anyOf string/null. By it every string is a
#   valid argument and reaches the function as it is; so it is for a plain `str`.
# Seen: for a parameter that is not exactly `str`, the server first tries json.loads on string values. A manifest as JSON
#   text becomes a dict, which then fails validation ("Input should be a valid string"); "[1]" the same; the string
#   "null" becomes None and is accepted. The same text as YAML, and scalars like "12", pass. FastMCP (the separate
#   package) hands all of them over as sent.
# Versions: PyPI mcp 2.3.0, fastmcp 4.2.3.
# What it means: tools for Kubernetes often take a manifest, a patch or a label selector as optional text. Agents write
#   JSON one day and YAML the next, and the tool works half of the time. Declare such a parameter `manifest: str = ""`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mcp==2.3.0 fastmcp==4.2.3

cat > call.py <<'PY'
import asyncio, logging

import fastmcp
import mcp
from mcp.server.mcpserver import MCPServer

logging.disable(logging.CRITICAL)

def plain(text: str) -> str:
    return repr(text)

def optional(text: str | None = None) -> str:
    return repr(text)

texts = ['{"kind":"Pod"}', "[1]", "null", "kind: Pod", "12"]

async def with_mcp():
    server = MCPServer("tools")
    server.add_tool(plain)
    server.add_tool(optional)
    async with mcp.Client(server) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        print("schema", tools["optional"].input_schema["properties"]["text"]["anyOf"])
        for name in ("plain", "optional"):
            for text in texts:
                result = await client.call_tool(name, {"text": text})
                print("mcp", name, text, "->", "refused" if result.is_error else result.content[0].text)

async def with_fastmcp():
    server = fastmcp.FastMCP("tools")
    server.tool(optional)
    async with fastmcp.Client(server) as client:
        for text in texts:
            result = await client.call_tool("optional", {"text": text}, raise_on_error=False)
            print("fastmcp optional", text, "->", "refused" if result.is_error else result.content[0].text)

asyncio.run(with_mcp())
asyncio.run(with_fastmcp())
PY
venv/bin/python call.py 2> /dev/null | tee seen
diff seen - <<'SEEN'
schema [{'type': 'string'}, {'type': 'null'}]
mcp plain {"kind":"Pod"} -> '{"kind":"Pod"}'
mcp plain [1] -> '[1]'
mcp plain null -> 'null'
mcp plain kind: Pod -> 'kind: Pod'
mcp plain 12 -> '12'
mcp optional {"kind":"Pod"} -> refused
mcp optional [1] -> refused
mcp optional null -> None
mcp optional kind: Pod -> 'kind: Pod'
mcp optional 12 -> '12'
fastmcp optional {"kind":"Pod"} -> '{"kind":"Pod"}'
fastmcp optional [1] -> '[1]'
fastmcp optional null -> 'null'
fastmcp optional kind: Pod -> 'kind: Pod'
fastmcp optional 12 -> '12'
SEEN
echo "as recorded: JSON text is refused where the schema asks for a string"
