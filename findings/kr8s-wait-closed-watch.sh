#!/usr/bin/env bash
# kr8s: wait() returns as if the condition were met when the server ends the watch.
#
# Expected: wait() returns when the condition holds, and raises TimeoutError when `timeout` has passed; as `kubectl wait`
#   it opens the next watch when one ends. API servers end every watch after 30 to 60 minutes, at a restart, and
#   load balancers do so much sooner.
# Seen: wait() reads one watch. When that ends in good order, wait() returns None, exactly as for success, although the
#   condition never held and the timeout is far away. (watch() itself also just ends.) With several conditions one is
#   enough: the default mode is "any", where kubectl wants all.
# Version: PyPI kr8s 0.20.15.
# What it means: a script that waits for an agent session of an hour and then merges its pull request can go on with a
#   session that is still running. After wait(), look at the condition again.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kr8s==0.20.15

cat > wait.py <<'PY'
import http.server, json, threading, time, warnings

warnings.simplefilter("ignore")
session = {"apiVersion": "example.dev/v1", "kind": "Session",
           "metadata": {"name": "s", "namespace": "default", "resourceVersion": "7"},
           "status": {"conditions": [{"type": "Completed", "status": "False"}]}}

class ApiServer(http.server.BaseHTTPRequestHandler):
    """One object that never changes; a watch is closed after a second, as at the end of timeoutSeconds."""
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass

    def do_GET(self):
        path, _, query = self.path.partition("?")
        watch = "watch=" in query
        if path.startswith("/version"):
            answer = {"major": "1", "minor": "35", "gitVersion": "v1.35.0"}
        elif path.rstrip("/") == "/api":
            answer = {"versions": []}
        elif path.rstrip("/") == "/apis":
            answer = {"groups": [{"name": "example.dev", "versions": [{"groupVersion": "example.dev/v1", "version": "v1"}]}]}
        elif path.rstrip("/") == "/apis/example.dev/v1":
            answer = {"resources": [{"name": "sessions", "singularName": "session", "kind": "Session", "namespaced": True,
                                     "verbs": ["get", "list", "watch"]}]}
        elif path.endswith("/s"):
            answer = session
        elif watch:
            answer = {"type": "ADDED", "object": session}
        else:
            answer = {"kind": "SessionList", "apiVersion": "example.dev/v1", "metadata": {}, "items": [session]}
        text = json.dumps(answer).encode() + b"\n"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
        self.wfile.flush()
        if watch:
            time.sleep(1)
        self.wfile.write(b"0\r\n\r\n")

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

begin = time.monotonic()
waited = new_class("Session", "example.dev/v1", namespaced=True)(session, api=kr8s.api(kubeconfig="kubeconfig"))
try:
    waited.wait("condition=Completed", timeout=30)
    print("wait() returned", "before its timeout" if time.monotonic() - begin < 20 else "late")
except TimeoutError:
    print("wait() timed out")
print("Completed is", waited.status.conditions[0].status)
PY
venv/bin/python wait.py | tee seen
diff seen - <<'SEEN'
wait() returned before its timeout
Completed is False
SEEN
echo "as recorded: the end of a watch passes for success"
