#!/usr/bin/env bash
# One tool with a date argument makes *all* tools of a TypeScript MCP server disappear.
#
# Expected: registerTool accepts the zod schema or throws; if one schema has no JSON form, that tool is missing or poor.
# Seen: a date (also a bigint) is accepted at registration and works in a call. tools/list fails as a whole with "Date
#   cannot be represented in JSON Schema", so that a client learns of no tool of that server.
# Version: npm @modelcontextprotocol/sdk 1.32.2 with zod 4.6.7.
# What it means: a "since" or "deadline" argument added to one tool takes away the tool that stops the session. Ask for
#   a string (z.iso.datetime()), and call tools/list once in the server's own tests.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" @modelcontextprotocol/sdk@1.32.2 zod@4.6.7
cat > list.mjs <<'JS'
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { z } from 'zod';

for (const [type, schema] of Object.entries({ string: z.iso.datetime(), date: z.coerce.date(), bigint: z.coerce.bigint() })) {
  const server = new McpServer({ name: 'server', version: '1' });
  server.registerTool('stop', { inputSchema: { session: z.string() } }, () => ({ content: [] }));
  server.registerTool('list', { inputSchema: { since: schema } }, ({ since }) => ({ content: [{ type: 'text', text: typeof since }] }));
  const client = new Client({ name: 'client', version: '1' });
  const [one, two] = InMemoryTransport.createLinkedPair();
  await Promise.all([server.connect(one), client.connect(two)]);
  const names = await client.listTools().then(({ tools }) => tools.map(({ name }) => name).join(' '), (error) => `error ${error.code}`);
  const since = type === 'bigint' ? '12' : '2026-01-02T03:04:05Z';
  const answer = await client.callTool({ name: 'list', arguments: { since } });
  console.log(`with ${type}: tools/list: ${names}; a call:`, answer.isError ? 'refused' : answer.content[0].text);
}
process.exit();
JS
node list.mjs | tee seen
diff seen - <<'SEEN'
with string: tools/list: stop list; a call: string
with date: tools/list: error -32603; a call: object
with bigint: tools/list: error -32603; a call: bigint
SEEN
echo "as recorded: one schema without a JSON form hides every tool"
