#!/usr/bin/env bash
# pycursor-acp: a prompt that has timed out or was cancelled goes on at the agent; a permission is answered by a guess.
#
# Expected: the Agent Client Protocol has session/cancel for a turn that the client gives up; prompt(timeout=…) and
#   cancelling the task send it, so that the next prompt of the session begins on an idle agent. An answer to
#   session/request_permission names the optionId of one of the options in the request.
# Seen: nothing is sent in either case, and the client has no method for it: prompt, start and shutdown are all. The
#   next prompts go into the same session while the first ones still run. A permission request is answered with
#   "allow-once", without a look at the options: here they are called "0" and "1".
# Version: PyPI pycursor-acp 0.1.0.
# What it means: a time limit on a prompt does not limit what the agent does or costs. Shut the client down at a timeout,
#   and give on_server_request a handler that looks for the kind of the option.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pycursor-acp==0.1.0
cat > agent.py <<'PY'
import json
import sys


def send(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


with open("received", "w", buffering=1) as log:
    for line in sys.stdin:
        message = json.loads(line)
        result = {}
        if message.get("method") == "session/new":
            result = {"sessionId": "s"}
        elif message.get("method") == "session/prompt":
            text = message["params"]["prompt"][0]["text"]
            print("prompt:", text, file=log)
            if text.startswith("long"):
                continue  # works on it
            send({"id": "p", "method": "session/request_permission", "params": {
                "sessionId": "s", "toolCall": {"toolCallId": "t"},
                "options": [{"optionId": "0", "name": "No", "kind": "reject_once"},
                            {"optionId": "1", "name": "Yes", "kind": "allow_once"}]}})
            print("permission:", json.dumps(json.loads(sys.stdin.readline())["result"]["outcome"]), file=log)
            result = {"stopReason": "end_turn"}
        elif message.get("method") not in ("initialize", "authenticate"):
            print("other:", message.get("method"), file=log)
        if "id" in message:
            send({"id": message["id"], "result": result})
PY
cat > client.py <<'PY'
import asyncio
import pathlib
import sys

from cursor_acp import CursorAcpClient


async def main():
    async with CursorAcpClient(api_key="none", cwd=pathlib.Path("."), cli_executable=sys.executable,
                               acp_argv=["agent.py"]) as client:
        print("methods:", *[name for name in dir(client) if not name.startswith("_")])
        try:
            await client.prompt("long, with a timeout", timeout=1)
        except Exception as error:
            print("timeout:", type(error).__name__)
        task = asyncio.create_task(client.prompt("long, then cancelled"))
        while "then cancelled" not in pathlib.Path("received").read_text():
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        print("task cancelled:", task.cancelled())
        print("next prompt:", (await client.prompt("next"))["stopReason"])


asyncio.run(main())
PY
{ venv/bin/python client.py; echo "the agent has received:"; cat received; } | tee seen
diff seen - <<'SEEN'
methods: prompt shutdown start
timeout: CursorAcpTimeoutError
task cancelled: True
next prompt: end_turn
the agent has received:
prompt: long, with a timeout
prompt: long, then cancelled
prompt: next
permission: {"outcome": "selected", "optionId": "allow-once"}
SEEN
echo "as recorded: no session/cancel, and an option that was not offered"
