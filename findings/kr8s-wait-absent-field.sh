#!/usr/bin/env bash
# kr8s: waiting for a status that is not there yet raises at once.
#
# Expected: wait("jsonpath={.status.phase}=Finished") waits, as `kubectl wait --for=jsonpath=…` does: a fresh custom
#   resource has no status, and waiting for it to appear is what the call is for.
# Seen: the documented form (with quotes) raises ValueError "not enough values to unpack (expected 1, got 0)" as long as
#   the field is absent, and wait("condition=Completed") raises a KeyError as long as there is no status at all.
#   kubectl's own form without quotes is refused as invalid.
# Version: PyPI kr8s 0.20.15.
# What it means: "create the session, wait for its phase" fails in the first millisecond, whenever the operator is not
#   quicker than the script. Retry around it, or read the object in a loop of your own.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kr8s==0.20.15

cat > wait.py <<'PY'
import http.server, json, threading, warnings

warnings.simplefilter("ignore")
session = {"apiVersion": "example.dev/v1", "kind": "Session",
           "metadata": {"name": "s", "namespace": "default", "resourceVersion": "7"}, "spec": {"prompt": "p"}}

class ApiServer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass

    def do_GET(self):
        path, _, query = self.path.partition("?")
        answer = session
        if path.startswith("/version"):
            answer = {"major": "1", "minor": "35", "gitVersion": "v1.35.0"}
        elif path.rstrip("/") == "/api":
            answer = {"versions": []}
        elif path.rstrip("/") == "/apis":
            answer = {"groups": [{"name": "example.dev", "versions": [{"groupVersion": "example.dev/v1", "version": "v1"}]}]}
        elif path.rstrip("/") == "/apis/example.dev/v1":
            answer = {"resources": [{"name": "sessions", "singularName": "session", "kind": "Session", "namespaced": True,
                                     "verbs": ["get", "list", "watch"]}]}
        elif "watch=" in query:
            answer = {"type": "ADDED", "object": session}
        elif not path.endswith("/s"):
            answer = {"kind": "SessionList", "apiVersion": "example.dev/v1", "metadata": {}, "items": [session]}
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode() + b"\n")
        self.wfile.flush()
        if "watch=" in query:
            threading.Event().wait(10)

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
with open("kubeconfig", "w") as file:
    json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "c",
               "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
               "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "default"}}],
               "users": [{"name": "u", "user": {"token": "t"}}]}, file)

import kr8s
from kr8s.objects import new_class

waited = new_class("Session", "example.dev/v1", namespaced=True)(session, api=kr8s.api(kubeconfig="kubeconfig"))
for condition in ("jsonpath='{.status.phase}'=Finished", "jsonpath={.spec.prompt}=p", "jsonpath='{.spec.prompt}'=p",
                  "condition=Completed"):
    try:
        waited.wait(condition, timeout=2)
        print(condition, "-> returned")
    except (LookupError, ValueError, TimeoutError) as error:
        print(condition, "->", type(error).__name__)
PY
venv/bin/python wait.py | tee seen
diff seen - <<'SEEN'
jsonpath='{.status.phase}'=Finished -> ValueError
jsonpath={.spec.prompt}=p -> ValueError
jsonpath='{.spec.prompt}'=p -> returned
condition=Completed -> BoxKeyError
SEEN
echo "as recorded: what is absent is an error instead of being waited for"
