#!/usr/bin/env bash
# The official Python client's SharedInformer cannot list custom resources.
#
# Expected: SharedInformer takes "a bound API method used for the initial list and as the watch source" that has a watch
#   argument. CustomObjectsApi.list_namespaced_custom_object is such a method, and the client's own Watch supports its
#   dictionaries. Custom resources are what an informer in an operator is for.
# Seen: the informer reads the answer's `items` by getattr. The answer of CustomObjectsApi is a dict, so it gets the
#   dict's *method* items(), and "'builtin_function_or_method' object is not iterable" is logged every five seconds. The
#   cache stays empty and no handler but ERROR is called; start() does not fail. With a list method of a built-in
#   kind, all is well.
# Version: PyPI kubernetes 37.0.2.
# What it means: a controller for agent sessions in Python still has to write its own list-and-watch loop, or give the
#   informer a wrapper that turns the dict into an object with `items` and `metadata`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kubernetes==37.0.2

cat > inform.py <<'PY'
import functools, http.server, json, logging, os, threading, time

from kubernetes import client
from kubernetes.informer import SharedInformer

logging.disable(logging.CRITICAL)

class ApiServer(http.server.BaseHTTPRequestHandler):
    """One object of each kind; a watch has no events."""
    def log_message(self, *_): pass

    def do_GET(self):
        custom = "example.dev" in self.path
        kind, version = ("Session", "example.dev/v1") if custom else ("ConfigMap", "v1")
        item = {"apiVersion": version, "kind": kind, "metadata": {"name": "a", "namespace": "default", "resourceVersion": "5"}}
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        if "watch=" in self.path:
            self.wfile.flush()
            time.sleep(10)
        else:
            self.wfile.write(json.dumps({"apiVersion": version, "kind": kind + "List", "metadata": {"resourceVersion": "5"},
                                         "items": [item]}).encode())

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
threading.Thread(target=server.serve_forever, daemon=True).start()
api = client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{server.server_port}"))
sessions = functools.partial(client.CustomObjectsApi(api).list_namespaced_custom_object,
                             group="example.dev", version="v1", plural="sessions")
print("a plain call:", len(sessions(namespace="default")["items"]), "session")
for name, list_func in (("config maps", client.CoreV1Api(api).list_namespaced_config_map), ("sessions", sessions)):
    informer, events = SharedInformer(list_func, namespace="default"), []
    informer.add_event_handler("ADDED", lambda _: events.append("ADDED"))
    informer.add_event_handler("ERROR", lambda error: events.append(type(error).__name__))
    informer.start()
    time.sleep(2)
    print(f"informer of {name}: cache {len(informer.cache.list())},", *events, flush=True)
os._exit(0)
PY
venv/bin/python inform.py | tee seen
diff seen - <<'SEEN'
a plain call: 1 session
informer of config maps: cache 1, ADDED
informer of sessions: cache 0, TypeError
SEEN
echo "as recorded: custom resources never reach the cache"
