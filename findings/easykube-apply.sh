#!/usr/bin/env bash
# easykube: "equivalent to kubectl apply" wipes what others have set, and works once per object; list() stops at a page.
#
# Expected: client_side_apply_object is "equivalent to kubectl apply": what is not in the manifest (labels and finalizers
#   of other controllers, defaults) stays, and applying the same manifest again changes nothing. list(limit=2) returns
#   "an iterable of the resource instances that match the given parameters": pages are fetched as they are needed.
#   labels takes a list of values for one key.
# Seen: it is a PUT: all that is not in the manifest is gone. It writes the resourceVersion that it has read into the
#   caller's object, and does not read a new one when there is one: the next call with the same object is a conflict as
#   soon as anybody has written, and after a deletion it is 404 instead of a creation. list() with a limit ends after the
#   first page, without a word; `metadata.continue` is never looked at, and watch_list then starts behind objects that
#   nobody has seen. A list of label values raises AttributeError.
# Version: PyPI easykube 0.6.0.
# What it means: a reconcile loop with a constant manifest succeeds in its first round only, takes the finalizers of
#   others away, and a controller that lists in pages forgets sessions. Use apply_object (server-side), copy the manifest,
#   list without a limit.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check easykube==0.6.0
cat > apply.py <<'PY'
import http.server
import json
import threading
import urllib.parse

from easykube import ApiError, SyncClient

RESOURCES = {"resources": [{"name": "sessions", "singularName": "session", "kind": "Session", "namespaced": True}]}
stored, version = {}, 0


class ApiServer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_): pass

    def answer(self, code, body):
        body = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, code, reason):
        self.answer(code, {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason})

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        name = url.path.rsplit("/", 1)[1]
        if name == "v1":
            self.answer(200, RESOURCES)
        elif name == "sessions":
            query = {key: values[0] for key, values in urllib.parse.parse_qs(url.query).items()}
            first = int(query.get("continue", 0))
            end = first + int(query.get("limit", 500))
            names = sorted(stored)
            meta = {"resourceVersion": str(version), **({"continue": str(end)} if end < len(names) else {})}
            self.answer(200, {"kind": "SessionList", "metadata": meta, "items": [stored[each] for each in names[first:end]]})
        elif name in stored:
            self.answer(200, stored[name])
        else:
            self.refuse(404, "NotFound")

    def body(self):
        return json.loads(self.rfile.read(int(self.headers["content-length"])))

    def do_POST(self):
        new = self.body()
        store(new)
        self.answer(201, new)

    def do_PUT(self):
        new = self.body()
        old = stored.get(new["metadata"]["name"])
        if old is None:
            self.refuse(404, "NotFound")
        elif new["metadata"].get("resourceVersion") not in (None, old["metadata"]["resourceVersion"]):
            self.refuse(409, "Conflict")
        else:
            store(new)
            self.answer(200, new)


def store(new):
    global version
    version += 1
    new["metadata"]["resourceVersion"] = str(version)
    stored[new["metadata"]["name"]] = new


def manifest(name):
    return {"apiVersion": "example.dev/v1", "kind": "Session", "metadata": {"name": name, "namespace": "default"}, "spec": {}}


def apply(title, obj):
    try:
        client.client_side_apply_object(obj)
        print(f"{title}: applied, finalizers {stored['a']['metadata'].get('finalizers')}")
    except ApiError as error:
        print(f"{title}: {error.status_code} {error.reason}")


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = SyncClient(base_url=f"http://127.0.0.1:{server.server_port}")

desired = manifest("a")
apply("created", desired)
other = json.loads(json.dumps(stored["a"]))
other["metadata"]["finalizers"] = ["example.dev/stop-agent"]
store(other)  # another controller
apply("the same object, somebody has added a finalizer", desired)
apply("the same object again", desired)
del stored["a"]
apply("the same object, deleted meanwhile", desired)

for name in "abcde":
    store(manifest(name))
sessions = client.api("example.dev/v1").resource("sessions")
print("list():", [each["metadata"]["name"] for each in sessions.list()])
print("list(limit=2):", [each["metadata"]["name"] for each in sessions.list(limit=2)])
print("watch_list(limit=2):", [each["metadata"]["name"] for each in sessions.watch_list(limit=2)[0]], "then events only")
try:
    list(sessions.list(labels={"team": ["x", "y"]}))
except AttributeError as error:
    print("labels of a list:", error)
PY
venv/bin/python apply.py | tee seen
diff seen - <<'SEEN'
created: applied, finalizers None
the same object, somebody has added a finalizer: applied, finalizers None
the same object again: 409 Conflict
the same object, deleted meanwhile: 404 NotFound
list(): ['a', 'b', 'c', 'd', 'e']
list(limit=2): ['a', 'b']
watch_list(limit=2): ['a', 'b'] then events only
labels of a list: 'list' object has no attribute 'join'
SEEN
echo "as recorded: no kubectl apply, and one page"
