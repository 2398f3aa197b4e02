#!/usr/bin/env bash
# Agent Client Protocol SDKs handle the chunks of a text out of order; the TypeScript one answers the prompt before them.
#
# Expected: the protocol's order. An agent sends every `session/update` of a turn before it answers `session/prompt`, over
#   one ordered pipe, so a client that awaits the prompt has the whole turn, and chunks of text join in the order sent.
# Seen: the official TypeScript and Python SDKs start a handler for each notification and do not wait for it before they
#   start the next. With handlers that await something (a file, a database, a terminal), "Fix", " the", " login" are
#   handled in the order in which the handlers finish. The Python SDK holds the prompt's answer back until they have; the
#   TypeScript SDK does not: the turn has ended and its first chunk is not handled. Both remove a tool call's `kind` and
#   `status` without a word if they do not know the value (a newer agent's).
# Versions: npm @agentclientprotocol/sdk 2.4.0, PyPI agent-client-protocol 0.12.1.
# What it means: a runner that stores the transcript or the pull request's link in such a handler mixes up the words, and
#   in TypeScript reports a session as finished without its last ones. Put updates into a queue inside the handler, before
#   the first await, and drain the queue after the prompt's answer.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" @agentclientprotocol/sdk@2.4.0
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check agent-client-protocol==0.12.1

# An agent in few lines: three chunks, a tool call of a newer version, then the end of the turn.
cat > agent.py <<'PY'
import json
import sys


def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def update(**fields):
    send(method="session/update", params={"sessionId": "s", "update": fields})


for line in sys.stdin:
    request = json.loads(line)
    if request["method"] == "initialize":
        send(id=request["id"], result={"protocolVersion": 1, "agentCapabilities": {}})
    elif request["method"] == "session/new":
        send(id=request["id"], result={"sessionId": "s"})
    elif request["method"] == "session/prompt":
        for text in ("Fix", " the", " login"):
            update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": text})
        update(sessionUpdate="tool_call", toolCallId="1", title="deploy", kind="deploy", status="paused")
        send(id=request["id"], result={"stopReason": "end_turn"})
PY

cat > client.mjs <<'JS'
import * as acp from '@agentclientprotocol/sdk';
import { spawn } from 'node:child_process';
import { Readable, Writable } from 'node:stream';

const agent = spawn('python3', ['agent.py'], { stdio: ['pipe', 'pipe', 'inherit'] });
const stream = acp.ndJsonStream(Writable.toWeb(agent.stdin), Readable.toWeb(agent.stdout));
const handled = [];
let release, others, all;
const stored = new Promise((resolve) => (release = resolve)); // the store of the first chunk takes its time
const rest = new Promise((resolve) => (others = resolve));
const done = new Promise((resolve) => (all = resolve));
const client = acp.client({ name: 'client' });
client.onNotification(acp.methods.client.session.update, async ({ params: { update } }) => {
  if (update.content?.text === 'Fix') await stored;
  handled.push(update.content?.text ?? { kind: update.kind, status: update.status });
  if (handled.length === 3) others();
  if (handled.length === 4) all();
});
await client.connectWith(stream, async (ctx) => {
  await ctx.request(acp.methods.agent.initialize, { protocolVersion: 1, clientCapabilities: {} });
  await ctx.request(acp.methods.agent.session.new, { cwd: '/workspace', mcpServers: [] });
  const { stopReason } = await ctx.request(acp.methods.agent.session.prompt, {
    sessionId: 's', prompt: [{ type: 'text', text: 'go' }],
  });
  console.log(`TypeScript: ${stopReason}, first chunk handled: ${handled.includes('Fix')}`);
  await rest;
  release();
  await done;
  console.log(`TypeScript: handled ${JSON.stringify(handled)}`);
});
agent.kill();
process.exit(0);
JS

cat > client.py <<'PY'
import asyncio
import json
import logging
import sys

import acp

logging.disable(logging.CRITICAL)
handled = []


class Client(acp.Client):
    def __init__(self):
        self.stored = asyncio.Event()

    async def session_update(self, session_id, update, **_):
        fields = update.model_dump(by_alias=True)
        content = fields.get("content")
        text = content["text"] if isinstance(content, dict) else None
        if text == "Fix":
            await self.stored.wait()
        handled.append(text or {"kind": fields["kind"], "status": fields["status"]})
        if len(handled) == 3:
            self.stored.set()


async def main():
    client = Client()
    async with acp.spawn_agent_process(client, sys.executable, "agent.py") as (agent, _):
        await agent.initialize(protocol_version=1)
        await agent.new_session(cwd="/workspace", mcp_servers=[])
        answer = await agent.prompt(session_id="s", prompt=[acp.text_block("go")])
        print(f"Python: {answer.stop_reason}, first chunk handled: {json.dumps('Fix' in handled)}")
        print(f"Python: handled {json.dumps(handled)}")


asyncio.run(main())
PY

{ timeout 120 node client.mjs; timeout 120 venv/bin/python client.py; } | tee seen
diff seen - <<'SEEN'
TypeScript: end_turn, first chunk handled: false
TypeScript: handled [" the"," login",{},"Fix"]
Python: end_turn, first chunk handled: true
Python: handled [" the", " login", {"kind": null, "status": null}, "Fix"]
SEEN
echo "as recorded: updates are handled out of order"
