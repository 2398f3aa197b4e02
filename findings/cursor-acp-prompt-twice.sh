#!/usr/bin/env bash
# cursor-acp: a prompt that the agent answers with an error is run a second time, and no stop reason is told.
#
# Expected: a client of the Agent Client Protocol hands an error on: a prompt turn has effects, and nobody but the
#   caller knows whether it may be repeated. The answer to session/prompt is the stop reason (end_turn, max_tokens,
#   max_turn_requests, refusal, cancelled). A permission is answered with the optionId of one of the options offered.
# Seen: after any error the library opens another session and sends the same prompt again; the result joins the texts of
#   both turns. Only the second error reaches the caller. PromptResult has no stop reason: a refusal looks like the end
#   of the work, with the text " ". A failed tool is among completed_tool_rounds, without its status. Each permission is
#   answered with the optionId "allow-once", offered or not. The README says none of it.
# Version: PyPI cursor-acp 0.1.1.
# What it means: an agent that has pushed its branch, or opened its pull request, when the model's service fails does it
#   once more, and is paid twice. Use the official agent-client-protocol package, which repeats nothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cursor-acp==0.1.1
mkdir bin
cat > bin/agent <<'PY'
#!/usr/bin/env python3
import json
import os
import sys

log = open(os.environ["AGENT_LOG"], "a", buffering=1)
sessions = 0
prompt = None


def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def update(session, **fields):
    send(method="session/update", params={"sessionId": session, "update": fields})


for line in sys.stdin:
    message = json.loads(line)
    method, number, params = message.get("method"), message.get("id"), message.get("params")
    if method == "session/new":
        sessions += 1
        send(id=number, result={"sessionId": f"session {sessions}"})
    elif method == "session/prompt":
        session, text = params["sessionId"], params["prompt"][0]["text"]
        print(f"{session}: {text}", file=log)
        if text == "push":
            update(session, sessionUpdate="agent_message_chunk", content={"type": "text", "text": "Pushed. "})
            if sessions == 1:
                send(id=number, error={"code": -32603, "message": "model overloaded"})
            else:
                send(id=number, result={"stopReason": "end_turn"})
        elif text == "build":
            update(session, sessionUpdate="tool_call", toolCallId="t", title="make", rawInput={})
            update(session, sessionUpdate="tool_call_update", toolCallId="t", status="failed", rawOutput="stopped")
            prompt = number
            send(id=9, method="session/request_permission", params={
                "sessionId": session, "toolCall": {"toolCallId": "t"}, "options": [
                    {"optionId": "proceed", "name": "Proceed", "kind": "allow_once"},
                    {"optionId": "stop", "name": "Stop", "kind": "reject_once"}]})
        else:
            send(id=number, result={"stopReason": "refusal"})
    elif method:
        send(id=number, result={})
    else:
        print("permission:", json.dumps(message["result"]["outcome"]), file=log)
        send(id=prompt, result={"stopReason": "max_turn_requests"})
PY
chmod +x bin/agent
cat > prompt.py <<'PY'
import asyncio
import logging
from pathlib import Path

from cursor_agent import CursorAgent

logging.disable(logging.CRITICAL)


async def main():
    agent = CursorAgent(cwd=Path("."), prefer_composer_fast=False)
    for text in ("push", "build", "something forbidden"):
        result = await agent.prompt(text)
        print(f"{text}: {result}")
    await agent.shutdown()


asyncio.run(main())
PY
AGENT_LOG=$work/log HOME=$work PATH=$work/bin:$PATH venv/bin/python prompt.py > seen 2> errors || { cat errors; exit 1; }
echo "the agent has received:" >> seen
cat log >> seen
cat seen
diff seen - <<'SEEN'
push: PromptResult(text='Pushed. Pushed.', completed_tool_rounds=[])
build: PromptResult(text=' ', completed_tool_rounds=[{'id': 't', 'name': 'make', 'arguments': {}, 'result': 'stopped'}])
something forbidden: PromptResult(text=' ', completed_tool_rounds=[])
the agent has received:
session 1: push
session 2: push
session 3: build
permission: {"outcome": "selected", "optionId": "allow-once"}
session 4: something forbidden
SEEN
echo "as recorded: run twice"
