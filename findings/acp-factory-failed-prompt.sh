#!/usr/bin/env bash
# acp-factory: a failed prompt ends like a finished one, both automatic permission modes fail, no session can be loaded.
#
# Expected: `async for update in session.prompt(…)` raises if the agent answers session/prompt with an error, and tells
#   the stop reason somewhere. permission_mode "auto-approve" (the default) selects an allow option, "auto-deny" a reject
#   option. load_session() works with an agent that announces loadSession.
# Seen: the loop ends without an error and without a stop reason, whether the agent has finished, refused or answered
#   "Authentication required"; the answer is never looked at. In both automatic modes the agent gets "Internal error"
#   for its permission request: the options are objects of the SDK, and the library asks them as dictionaries. The SDK
#   calls the capability load_session, so load_session() always says that the agent does not support it.
# Versions: PyPI acp-factory 0.1.1 with agent-client-protocol 0.8.0 (it asks for 0.7.0 or newer; with 0.12.1 its import
#   fails).
# What it means: an automation takes an agent without a login for one that had nothing to say, and cannot follow up on a
#   session. Use the SDK itself, whose prompt() returns the stop reason and raises the error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check acp-factory==0.1.1 agent-client-protocol==0.8.0
cat > agent.py <<'PY'
import json
import sys


def send(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


with open("received", "a", buffering=1) as log:
    for line in sys.stdin:
        message = json.loads(line)
        method = message.get("method")
        answer = {"result": {}}
        if method == "initialize":
            answer = {"result": {"protocolVersion": 1, "agentCapabilities": {"loadSession": True}}}
        elif method == "session/new":
            answer = {"result": {"sessionId": "s"}}
        elif method == "session/prompt":
            text = message["params"]["prompt"][0]["text"]
            if text == "without a login":
                answer = {"error": {"code": -32000, "message": "Authentication required"}}
            elif text == "refused":
                answer = {"result": {"stopReason": "refusal"}}
            else:
                send({"id": "p", "method": "session/request_permission", "params": {
                    "sessionId": "s", "toolCall": {"toolCallId": "t"},
                    "options": [{"optionId": "no", "name": "No", "kind": "reject_once"},
                                {"optionId": "yes", "name": "Yes", "kind": "allow_once"}]}})
                permission = json.loads(sys.stdin.readline())
                print(permission.get("result") or permission["error"]["message"], file=log)
                answer = {"result": {"stopReason": "end_turn"}}
        if "id" in message:
            send({"id": message["id"], **answer})
PY
cat > client.py <<'PY'
import asyncio
import logging
import sys

from acp_factory import AgentConfig, AgentFactory, SpawnOptions

logging.disable(logging.CRITICAL)


async def main():
    AgentFactory.register("stand-in", AgentConfig(command=sys.executable, args=["agent.py"]))
    for mode in ("auto-approve", "auto-deny"):
        agent = await AgentFactory.spawn("stand-in", SpawnOptions(permission_mode=mode))
        session = await agent.create_session(".")
        for text in ("finished", "refused", "without a login"):
            updates = []
            try:
                async for update in session.prompt(text):
                    updates.append(update)
                print(f"{mode}, {text}: ends, updates: {updates}")
            except Exception as error:
                print(f"{mode}, {text}: {error!r}")
        try:
            await agent.load_session("s", ".")
            print("loaded")
        except RuntimeError as error:
            print("load_session:", error)
        await agent.close()


asyncio.run(main())
PY
{ venv/bin/python client.py; echo "answers to the permission requests:"; cat received; } | tee seen
diff seen - <<'SEEN'
auto-approve, finished: ends, updates: []
auto-approve, refused: ends, updates: []
auto-approve, without a login: ends, updates: []
load_session: Agent does not support loading sessions
auto-deny, finished: ends, updates: []
auto-deny, refused: ends, updates: []
auto-deny, without a login: ends, updates: []
load_session: Agent does not support loading sessions
answers to the permission requests:
Internal error
Internal error
SEEN
echo "as recorded: three different ends look the same"
