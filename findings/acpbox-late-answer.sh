#!/usr/bin/env bash
# acpbox: after a turn that timed out the next one fails, its permissions are not understood, and each end is a "stop".
#
# Expected: each JSON-RPC request has an id of its own, so that an answer that comes too late is told from the answer to
#   another request. A permission is granted with {"outcome": {"outcome": "selected", "optionId": …}} (Agent Client
#   Protocol), and a turn that ended for lack of tokens has finish_reason "length" in the OpenAI API that it offers.
# Seen: a turn that times out leaves its id to the next request, and the agent goes on with it. The late answer to the
#   prompt is taken for the answer to session/new: "session/new did not return sessionId", and the answer to the first is
#   lost. No session/cancel is sent. Permissions are answered with {"outcome": "allow_once"}, which the protocol's own SDK
#   refuses to parse. finish_reason is "stop" for every stop reason.
# Versions: PyPI acpbox 0.2.3; judge: agent-client-protocol 0.12.1 (as acpbox installs it).
# What it means: behind this gateway one slow prompt costs the next caller its turn, and a refusal looks like a finished
#   answer. Use one process per caller, and restart it after a timeout.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check acpbox==0.2.3 agent-client-protocol==0.12.1
cat > agent.py <<'PY'
import json
import sys

held = None
sessions = 0


def send(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def say(session, text):
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
    send({"method": "session/update", "params": {"sessionId": session, "update": update}})


with open("received", "a", buffering=1) as log:
    for line in sys.stdin:
        message = json.loads(line)
        method, params = message["method"], message.get("params") or {}
        print(message["id"], method, file=log)
        result = {}
        if method == "session/new":
            if held:  # the first prompt is ready now
                say(held["params"]["sessionId"], "answer to the first. ")
                send({"id": held["id"], "result": {"stopReason": "end_turn"}})
                held = None
            sessions += 1
            result = {"sessionId": f"s{sessions}"}
        elif method == "session/prompt":
            text = params["prompt"][0]["text"]
            if text == "first":
                held = message
                continue
            send({"id": "p", "method": "session/request_permission", "params": {
                "sessionId": params["sessionId"], "toolCall": {"toolCallId": "t"},
                "options": [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}]}})
            print("permission:", json.dumps(json.loads(sys.stdin.readline())["result"]), file=log)
            say(params["sessionId"], f"answer to the {text}.")
            result = {"stopReason": "max_tokens"}
        send({"id": message["id"], "result": result})
PY
cat > gateway.py <<'PY'
import asyncio
import sys

from acp.schema import RequestPermissionResponse
from acpbox.acp_stdio import AcpRunner
from acpbox.mapping import acp_stop_reason_to_openai_finish
from pydantic import ValidationError


async def main():
    runner = AcpRunner([sys.executable, "agent.py"], {}, ".")
    await runner.start()
    for text, timeout in (("first", 2), ("second", 30), ("third", 30)):
        try:
            answer, stop_reason, _ = await runner.run_turn([{"type": "text", "text": text}], request_timeout=timeout)
            print(f"{text}: {answer} {stop_reason}, finish_reason {acp_stop_reason_to_openai_finish(stop_reason)}")
        except Exception as error:
            print(f"{text}: {type(error).__name__} {error}".rstrip())
    await runner.stop()
    print("refusal: finish_reason", acp_stop_reason_to_openai_finish("refusal"))
    try:
        RequestPermissionResponse.model_validate({"outcome": "allow_once"})
        print("permission understood")
    except ValidationError:
        print("permission not understood by the SDK")


asyncio.run(main())
PY
{ venv/bin/python gateway.py; echo "the agent has received:"; cat received; } | tee seen
diff seen - <<'SEEN'
first: TimeoutError
second: AcpStdioError session/new did not return sessionId
third: answer to the third. max_tokens, finish_reason stop
refusal: finish_reason stop
permission not understood by the SDK
the agent has received:
0 initialize
1 session/new
2 session/prompt
2 session/new
3 session/new
4 session/prompt
permission: {"outcome": "allow_once"}
SEEN
echo "as recorded: a late answer is taken for the next one's"
