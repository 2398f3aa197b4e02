#!/usr/bin/env bash
# chuk-acp: the agent's requests are never answered, and the answer to a prompt is taken for the next prompt's.
#
# Expected: "This client handles all protocol ceremony automatically". In the Agent Client Protocol a client answers
#   session/request_permission (a method that every client has), or at least with an error, as JSON-RPC 2.0 demands for
#   each request; an answer belongs to the request with its id; the client's abilities are sent as clientCapabilities.
# Seen: requests of the agent are logged as "unexpected" and dropped, so an agent that asks for a permission waits until
#   send_prompt's timeout. Then nothing is cancelled: the agent works on, and its late answer is returned as the answer
#   to the next prompt, since ids are not compared. The initialize request has `capabilities`, which the protocol does
#   not know.
# Version: PyPI chuk-acp 0.3.2 with anyio 4.16.0.
# What it means: with any agent that asks before it edits, no prompt ends; after one timeout every stop reason belongs
#   to the prompt before, so "refusal" is told for the wrong task. Use the official agent-client-protocol package.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check chuk-acp==0.3.2 anyio==4.16.0
cat > agent.py <<'PY'
# An agent of the protocol: asks for a permission in the mode "asks", answers late in the mode "late".
import json
import sys

mode = sys.argv[1]
waiting = []


def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


for line in sys.stdin:
    with open(f"{mode}.log", "a") as log:
        log.write(line)
    message = json.loads(line)
    method, number = message.get("method"), message.get("id")
    if method == "initialize":
        send(id=number, result={"protocolVersion": 1, "agentCapabilities": {},
                                "agentInfo": {"name": "agent", "version": "1"}})
    elif method == "session/new":
        send(id=number, result={"sessionId": "s"})
    elif method == "session/prompt" and mode == "asks":
        waiting.append(number)
        send(id=1, method="session/request_permission", params={
            "sessionId": "s", "toolCall": {"toolCallId": "t", "title": "make"},
            "options": [{"optionId": "allow", "name": "Allow", "kind": "allow_once"}]})
    elif method == "session/prompt":
        waiting.append(number)
        if len(waiting) == 2:
            send(id=waiting[0], result={"stopReason": "refusal"})
            send(id=waiting[1], result={"stopReason": "end_turn"})
    elif number == 1:
        send(id=waiting[0], result={"stopReason": "end_turn"})
PY
cat > client.py <<'PY'
import asyncio
import json
import logging
import sys

from chuk_acp import ACPClient

logging.disable(logging.CRITICAL)


def received(mode):
    return [json.loads(line) for line in open(f"{mode}.log")]


async def prompt(client, text, seconds):
    try:
        return (await client.send_prompt(text, timeout=seconds)).stop_reason
    except TimeoutError:
        return "TimeoutError"


async def main():
    async with ACPClient(sys.executable, ["agent.py", "asks"]) as client:
        print("agent asks for a permission:", await prompt(client, "build", 5))
    print("the agent has received:", ", ".join(message.get("method", "an answer") for message in received("asks")))
    print("initialize has:", ", ".join(sorted(received("asks")[0]["params"])))
    async with ACPClient(sys.executable, ["agent.py", "late"]) as client:
        print("first prompt, unanswered:", await prompt(client, "first", 2))
        print("second prompt, answered with end_turn:", await prompt(client, "second", 60))


asyncio.run(main())
PY
venv/bin/python client.py | tee seen
diff seen - <<'SEEN'
agent asks for a permission: TimeoutError
the agent has received: initialize, session/new, session/prompt
initialize has: capabilities, clientInfo, protocolVersion
first prompt, unanswered: TimeoutError
second prompt, answered with end_turn: refusal
SEEN
echo "as recorded: no answer, and another one's"
