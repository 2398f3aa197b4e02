#!/usr/bin/env bash
# knete: an event whose handler fails is never seen again, and of two controllers of one resource only the first works.
#
# Expected: "Central manager that registers controllers and runs all watches". In operator frameworks (controller-runtime,
#   kopf, kube-rs) a handler that fails is called again for the same object, later and later.
# Seen: the manager notes the event's resourceVersion before it calls the handler. A handler's exception is reported as
#   "Watch connection lost", and the next watch begins behind the event: nobody is called for it until the object changes
#   again, or the program restarts. With two controllers of the same resource and namespace, both "Registered", the second
#   one's handlers are never called. The watch is cut off for the others as well, for five seconds.
# Version: PyPI knete 0.3.0.
# What it means: one refused request of a session's first pass, and the session is never launched, without any retry. Catch
#   everything inside the handler and keep your own queue, or use on_timer, which lists all objects each time.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check knete==0.3.0
cat > events.py <<'PY'
import http.server
import json
import sys
import threading
import urllib.parse

from knete import Controller, Manager

EVENTS = [{"type": "ADDED", "object": {"metadata": {"name": name, "resourceVersion": str(version)}}}
          for version, name in ((11, "first"), (12, "second"))]
watches = []
done = threading.Event()


class ApiServer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass

    def do_GET(self):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        version = query.get("resourceVersion", "")
        watches.append(version or "the beginning")
        self.send_response(200)
        self.end_headers()
        for event in EVENTS:
            if int(event["object"]["metadata"]["resourceVersion"]) > int(version or 0):
                self.wfile.write(json.dumps(event).encode() + b"\n")
                self.wfile.flush()
        done.wait()


class Launcher(Controller):
    class Meta:
        resource = "agents.example/v1/sessions"

    def on_create(self, name):
        print("launcher:", name, flush=True)
        if name == "first":
            raise ConnectionError("the provider answers 503")
        done.set()


class Recorder(Controller):
    class Meta:
        resource = "agents.example/v1/sessions"

    def on_create(self, name):
        print("recorder:", name, flush=True)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
manager = Manager(f"http://127.0.0.1:{server.server_port}", "token", None)
manager.register(Launcher).register(Recorder)
threading.Thread(target=manager.start, daemon=True).start()
if not done.wait(120):
    sys.exit("the second event did not come")
print("watched from:", ", ".join(watches[:2]))
PY
venv/bin/python events.py > output
grep -E '^(Registered|launcher|recorder|Watch connection|watched)' output | tee seen
diff seen - <<'SEEN'
Registered Launcher for agents.example/v1/sessions (cluster-wide)
Registered Recorder for agents.example/v1/sessions (cluster-wide)
launcher: first
Watch connection lost for agents.example/v1/sessions: the provider answers 503, reconnecting...
launcher: second
watched from: the beginning, 11
SEEN
echo "as recorded: the failed event is gone"
