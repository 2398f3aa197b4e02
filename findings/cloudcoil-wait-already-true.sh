#!/usr/bin/env bash
# cloudcoil: wait_for on an object that fulfils the condition already runs into its timeout.
#
# Expected: as kubectl wait, which looks at the object first. The documented use is `pod = Pod.get("nginx")` and then
#   `pod.wait_for(lambda _, pod: pod.status.phase == "Running", timeout=300)`.
# Seen: the predicate is asked only about events of a watch from the object's own resourceVersion, that is about later
#   changes (API concepts: "start a watch at an exact resource version"). For what is true at the moment of `get` no
#   event comes: WaitTimeout after the whole time, both sync and async. The predicate is never called.
# Versions: PyPI cloudcoil 0.6.0 with httpx 0.28.1 and pydantic 2.14.4.
# What it means: "wait until the session is finished" fails for exactly those that finished before the wait began, the
#   short ones and all of a pipeline's second try. Ask the predicate yourself before you call wait_for.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cloudcoil==0.6.0 httpx==0.28.1 pydantic==2.14.4
cat > wait.py <<'PY'
import asyncio
import http.server
import json
import logging
import os
import sys
import threading

from cloudcoil.client import Config
from cloudcoil.errors import WaitTimeout
from cloudcoil.resources import get_dynamic_resource

logging.disable(logging.CRITICAL)
DISCOVERY = {"kind": "APIGroupDiscoveryList", "items": [{
    "metadata": {"name": "agents.example"},
    "versions": [{"version": "v1", "resources": [{
        "resource": "sessions", "scope": "Namespaced", "responseKind": {"kind": "Session"}}]}]}]}
SESSION = {"apiVersion": "agents.example/v1", "kind": "Session",
           "metadata": {"name": "fix-login", "namespace": "default", "resourceVersion": "41"},
           "status": {"phase": "Finished"}}
watches = []
done = threading.Event()


class ApiServer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_): pass

    def do_GET(self):
        if self.path == "/version":
            self.answer({"major": "1", "minor": "37"})
        elif self.path.endswith("/sessions/fix-login"):
            self.answer(SESSION)
        elif "watch=true" in self.path:
            watches.append([part for part in self.path.split("&") if part.startswith("resourceVersion")])
            self.send_response(200)
            self.end_headers()
            done.wait()  # nothing has changed since version 41
        else:
            self.answer(DISCOVERY)

    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
Session = get_dynamic_resource("Session", "agents.example/v1")
asked = []


def finished(event, session):
    asked.append(event)
    return session["status"]["phase"] == "Finished"


def report(name, wait):
    try:
        wait()
        print(f"{name}: fulfilled")
    except WaitTimeout as error:
        print(f"{name}: WaitTimeout, {error}")


with Config(server=f"http://127.0.0.1:{server.server_port}"):
    session = Session.get("fix-login")
    print("phase:", session["status"]["phase"])
    report("wait_for", lambda: session.wait_for(finished, timeout=5))
    report("async_wait_for", lambda: asyncio.run(session.async_wait_for(finished, timeout=5)))
print("predicate asked:", len(asked), "watched from:", watches)
sys.stdout.flush()
os._exit(0)  # the thread of wait_for still watches
PY
venv/bin/python wait.py | tee seen
diff seen - <<'SEEN'
phase: Finished
wait_for: WaitTimeout, Timeout waiting for condition
async_wait_for: WaitTimeout, Timeout waiting for condition
predicate asked: 0 watched from: [['resourceVersion=41'], ['resourceVersion=41']]
SEEN
echo "as recorded: what is true already is waited for in vain"
