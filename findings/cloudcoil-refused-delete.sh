#!/usr/bin/env bash
# cloudcoil: a refused delete looks like a done one, and grace_period_seconds=0 is not sent.
#
# Expected: as kubectl and the other clients: an answer 403, 409, 429 or 500 to a DELETE is an error for the caller.
#   cloudcoil itself raises APIError or ResourceConflict for a refused create or update. gracePeriodSeconds=0 means
#   "delete immediately" (API reference, DeleteOptions).
# Seen: Resource.delete() and remove() return the server's Status object as they do for a success; nothing is raised and
#   nothing is logged. Only 404 is an error. A grace period of 0 is left out of the request, so the default counts.
# Versions: PyPI cloudcoil 0.6.0 with httpx 0.28.1 and pydantic 2.14.4.
# What it means: a cleanup that deletes sessions through it believes that it has stopped paid work while RBAC, a webhook
#   or the server's overload kept all of it. Look at `.status` of what delete returns: "Failure" is an ordinary answer.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cloudcoil==0.6.0 httpx==0.28.1 pydantic==2.14.4
cat > delete.py <<'PY'
import http.server
import json
import logging
import threading

from cloudcoil.client import Config
from cloudcoil.resources import get_dynamic_resource

logging.disable(logging.CRITICAL)
answers = {}
queries = []
DISCOVERY = {"kind": "APIGroupDiscoveryList", "items": [{
    "metadata": {"name": "agents.example"},
    "versions": [{"version": "v1", "resources": [{
        "resource": "sessions", "scope": "Namespaced", "responseKind": {"kind": "Session"}}]}]}]}


class ApiServer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_): pass

    def do_GET(self):
        self.answer(200, {"major": "1", "minor": "37"} if self.path == "/version" else DISCOVERY)

    def do_DELETE(self):
        path, _, query = self.path.partition("?")
        queries.append(query)
        code, reason = answers.get(path.rpartition("/")[2], (200, None))
        self.answer(code, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "reason": reason, "code": code,
                           "status": "Success" if code == 200 else "Failure", "message": "as recorded"})

    def answer(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
threading.Thread(target=server.serve_forever, daemon=True).start()
Session = get_dynamic_resource("Session", "agents.example/v1")
with Config(server=f"http://127.0.0.1:{server.server_port}"):
    for code, reason in [(200, None), (403, "Forbidden"), (404, "NotFound"), (409, "Conflict"),
                         (429, "TooManyRequests"), (500, "InternalError")]:
        answers["fix-login"] = (code, reason)
        try:
            seen = f"returned {(status := Session.delete('fix-login')).__class__.__name__}, {status.status}"
        except Exception as error:
            seen = f"raised {type(error).__name__}"
        print(f"the server says {code} {reason or 'done'}: {seen}")
    answers.clear()
    queries.clear()
    for grace in (None, 0, 1):
        Session.delete("fix-login", grace_period_seconds=grace)
        print(f"grace_period_seconds={grace}: sent {queries[-1] or 'nothing'}")
PY
venv/bin/python delete.py | tee seen
diff seen - <<'SEEN'
the server says 200 done: returned Status, Success
the server says 403 Forbidden: returned Status, Failure
the server says 404 NotFound: raised ResourceNotFound
the server says 409 Conflict: returned Status, Failure
the server says 429 TooManyRequests: returned Status, Failure
the server says 500 InternalError: returned Status, Failure
grace_period_seconds=None: sent nothing
grace_period_seconds=0: sent nothing
grace_period_seconds=1: sent gracePeriodSeconds=1
SEEN
echo "as recorded: a refused delete raises nothing"
