#!/usr/bin/env bash
# A misspelt `dryRun` deletes for real: the official MCP SDKs drop arguments that the tool does not have.
#
# Expected: arguments are validated against the tool's inputSchema. The TypeScript SDK derives it from a zod object,
#   the Python SDK from the function's signature; calling a Python function with an unknown keyword is an error.
# Seen: both servers accept {"name": …, "dry-run": true} for a tool with an optional dryRun, drop the unknown member, and
#   run the tool with dryRun=false. Neither published schema says additionalProperties: false, so the client cannot
#   catch it either. FastMCP (the separate Python package) publishes additionalProperties: false and refuses.
# Versions: npm @modelcontextprotocol/sdk 1.32.2 with zod 4.6.7; PyPI mcp 2.3.0, fastmcp 4.2.3.
# What it means: models mix dry_run and dryRun. For tools that cancel sessions or apply manifests, make the switch a
#   required argument, or reject unknown ones (z.strictObject; a pydantic model with extra="forbid").
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" @modelcontextprotocol/sdk@1.32.2 zod@4.6.7
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mcp==2.3.0 fastmcp==4.2.3

cat > call.mjs <<'JS'
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { z } from 'zod';

const remove = ({ name, dryRun }) => ({ content: [{ type: 'text', text: `${name}, dry run: ${dryRun}` }] });
const server = new McpServer({ name: 'server', version: '1' });
server.registerTool('loose', { inputSchema: { name: z.string(), dryRun: z.boolean().default(false) } }, remove);
server.registerTool('strict', { inputSchema: z.strictObject({ name: z.string(), dryRun: z.boolean().default(false) }) }, remove);
const client = new Client({ name: 'client', version: '1' });
const [one, two] = InMemoryTransport.createLinkedPair();
await Promise.all([server.connect(one), client.connect(two)]);
for (const { name, inputSchema } of (await client.listTools()).tools) {
  const answer = await client.callTool({ name, arguments: { name: 'a', 'dry-run': true } });
  console.log('typescript', name, 'additionalProperties', inputSchema.additionalProperties, '->', answer.isError ? 'refused' : answer.content[0].text);
}
process.exit();
JS
cat > call.py <<'PY'
import asyncio, logging

import fastmcp
import mcp
from mcp.server.mcpserver import MCPServer

logging.disable(logging.CRITICAL)

def remove(name: str, dry_run: bool = False) -> str:
    return f"{name}, dry run: {dry_run}"

async def main():
    arguments = {"name": "a", "dry-run": True}
    server = MCPServer("server")
    server.add_tool(remove)
    async with mcp.Client(server) as client:
        schema = (await client.list_tools()).tools[0].input_schema
        answer = await client.call_tool("remove", arguments)
        print("python additionalProperties", schema.get("additionalProperties"), "->", "refused" if answer.is_error else answer.content[0].text)
    server = fastmcp.FastMCP("server")
    server.tool(remove)
    async with fastmcp.Client(server) as client:
        schema = (await client.list_tools())[0].input_schema
        answer = await client.call_tool("remove", arguments, raise_on_error=False)
        print("fastmcp additionalProperties", schema.get("additionalProperties"), "->", "refused" if answer.is_error else answer.content[0].text)

asyncio.run(main())
PY
{ node call.mjs; venv/bin/python call.py 2> /dev/null; } | tee seen
diff seen - <<'SEEN'
typescript loose additionalProperties undefined -> a, dry run: false
typescript strict additionalProperties false -> refused
python additionalProperties None -> a, dry run: False
fastmcp additionalProperties False -> refused
SEEN
echo "as recorded: unknown arguments are dropped by both official SDKs"
