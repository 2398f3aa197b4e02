#!/usr/bin/env bash
# kubecrd: saving an object that was read creates another one, and a watch ends with a TypeError at its first bookmark.
#
# Expected: "You can deserialize the JSON from Kubernetes API into Python CR objects", "saved directly in K8s"; what was
#   read keeps its name. watch() is to "List and watch the changes in the Resource in Cluster" and asks for bookmarks
#   itself, events whose object has a resourceVersion and no spec (API concepts, "Watch bookmarks").
# Seen: serialize() never looks at the metadata that from_json has set. The name is the class's name and the address of
#   the Python object in memory, so save() of what was read, unchanged, creates a second session, in the namespace
#   "default". The bookmark is given to the constructor: TypeError, the watch is over. A nested dataclass is a dict
#   after reading.
# Versions: PyPI kubecrd 0.5.0 with kubernetes 23.6.0 and apischema 0.19.0.
# What it means: a controller that reads a session, sets a field and saves it creates another session, one more at every
#   pass, and each is a paid launch; its watch fails in quiet times, when bookmarks are all that comes. Write and watch
#   with the official client's CustomObjectsApi.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kubecrd==0.5.0 kubernetes==23.6.0 apischema==0.19.0
cat > save.py <<'PY'
import http.server
import json
import re
import threading
from dataclasses import dataclass

from kubecrd import KubeResourceBase
from kubernetes import client

SESSION = {"apiVersion": "agents.example/v1", "kind": "Session", "spec": {"prompt": "Fix it", "source": {"ref": "main"}},
           "metadata": {"name": "fix-login", "namespace": "team-a", "uid": "0215", "resourceVersion": "41"}}
BOOKMARK = {"apiVersion": "agents.example/v1", "kind": "Session",
            "metadata": {"resourceVersion": "57", "creationTimestamp": None}}
created = []


class ApiServer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        for kind, item in (("ADDED", SESSION), ("BOOKMARK", BOOKMARK)):
            self.wfile.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")
        print("bookmarks asked for:", "allowWatchBookmarks=True" in self.path)

    def do_POST(self):
        created.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
        self.send_response(201)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(created[-1][1]).encode())


@dataclass
class Source:
    ref: str


@dataclass
class Session(KubeResourceBase):
    __group__ = "agents.example"
    __version__ = "v1"

    prompt: str
    source: Source


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
threading.Thread(target=server.serve_forever, daemon=True).start()
configuration = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
api = client.ApiClient(configuration)
try:
    for event, session in Session.watch(api):
        print("event:", event, session.metadata.name, "source:", type(session.source).__name__)
except TypeError as error:
    print("then:", type(error).__name__, str(error).split("argument ")[-1])
read = Session.from_json(SESSION)
read.source = Source("main")
read.save(api)
path, body = created[0]
name = body["metadata"].pop("name")
print("save: POST", path, body["metadata"], "name", "fix-login" if name == "fix-login" else re.sub(r"\d+", "NUMBER", name))
PY
venv/bin/python save.py | tee seen
diff seen - <<'SEEN'
bookmarks asked for: True
event: ADDED fix-login source: dict
then: TypeError after ** must be a mapping, not NoneType
save: POST /apis/agents.example/v1/namespaces/default/sessions {} name sessionNUMBER
SEEN
echo "as recorded: another session"
