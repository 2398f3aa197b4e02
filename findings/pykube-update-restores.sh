#!/usr/bin/env bash
# pykube-ng: `update()` puts back what you removed, and merges lists by position: a removed finalizer stays.
#
# Expected: change `obj`, call `update()`, and the object in the cluster is as `obj` is: "Update the Kubernetes resource
#   by calling the API". Members and list entries that were deleted from `obj` are deleted. The argument `is_strategic`
#   promises Kubernetes' strategic merge, which replaces lists without a merge key and merges the others by that key.
# Seen: before it sends, the library merges the object *as it was read* back under the new one. A deleted label or field
#   comes back, an emptied list of finalizers comes back whole, [x, y] without x becomes [y, y], and an entry that takes
#   the place of another inherits its members. The request is a plain merge patch (RFC 7396) all the same, so the server
#   stores just that. With is_strategic=False lists are right, but removed members still stay: they are absent in the
#   patch where they would have to be null.
# Versions: PyPI pykube-ng 23.6.0, new-pykube 26.10.0 (its successor).
# What it means: a controller that takes its finalizer off with update() never lets the object go; one that clears
#   spec.suspend or a label never sees it cleared, and no error tells. Use patch() with explicit nulls.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > update.py <<'PY'
import copy
import http.server
import json
import threading

import pykube
from pykube.objects import NamespacedAPIObject

STORED = {
    "apiVersion": "example.dev/v1", "kind": "Session",
    "metadata": {"name": "a", "namespace": "default", "labels": {"team": "x"}, "finalizers": ["one", "two"]},
    "spec": {"suspend": True, "repositories": [{"url": "first", "ref": "v1"}, {"url": "second"}]},
}
stored = {}


def merge(target, patch):
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


class ApiServer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass

    def do_PATCH(self):
        global stored
        assert self.headers["content-type"] == "application/merge-patch+json"
        stored = merge(stored, json.loads(self.rfile.read(int(self.headers["content-length"]))))
        answer = json.dumps(stored).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class Session(NamespacedAPIObject):
    version, kind, endpoint = "example.dev/v1", "Session", "sessions"


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
threading.Thread(target=server.serve_forever, daemon=True).start()
api = pykube.HTTPClient(pykube.KubeConfig.from_url(f"http://127.0.0.1:{server.server_port}"))


def change(title, edit, show, **options):
    global stored
    stored = copy.deepcopy(STORED)
    session = Session(api, copy.deepcopy(STORED))
    edit(session.obj)
    wanted = show(session.obj)
    session.update(**options)
    print(f"{title}: wanted {json.dumps(wanted)}, stored {json.dumps(show(stored))}")


change("remove spec.suspend", lambda o: o["spec"].pop("suspend"), lambda o: o["spec"].get("suspend"))
change("remove a label", lambda o: o["metadata"]["labels"].clear(), lambda o: o["metadata"]["labels"])
change("remove finalizer one", lambda o: o["metadata"]["finalizers"].remove("one"), lambda o: o["metadata"]["finalizers"])
change("remove all finalizers", lambda o: o["metadata"]["finalizers"].clear(), lambda o: o["metadata"]["finalizers"])
change("replace a repository", lambda o: o["spec"].update(repositories=[{"url": "third"}]), lambda o: o["spec"]["repositories"])
change("is_strategic=False, remove spec.suspend", lambda o: o["spec"].pop("suspend"), lambda o: o["spec"].get("suspend"),
       is_strategic=False)
PY

for package in pykube-ng==23.6.0 new-pykube==26.10.0; do
  python3 -m venv "venv-$package"
  "venv-$package/bin/pip" install --quiet --disable-pip-version-check "$package"
  echo "$package"
  "venv-$package/bin/python" update.py
done | tee seen
diff seen - <<'SEEN'
pykube-ng==23.6.0
remove spec.suspend: wanted null, stored true
remove a label: wanted {}, stored {"team": "x"}
remove finalizer one: wanted ["two"], stored ["two", "two"]
remove all finalizers: wanted [], stored ["one", "two"]
replace a repository: wanted [{"url": "third"}], stored [{"url": "third", "ref": "v1"}, {"url": "second"}]
is_strategic=False, remove spec.suspend: wanted null, stored true
new-pykube==26.10.0
remove spec.suspend: wanted null, stored true
remove a label: wanted {}, stored {"team": "x"}
remove finalizer one: wanted ["two"], stored ["two", "two"]
remove all finalizers: wanted [], stored ["one", "two"]
replace a repository: wanted [{"url": "third"}], stored [{"url": "third", "ref": "v1"}, {"url": "second"}]
is_strategic=False, remove spec.suspend: wanted null, stored true
SEEN
echo "as recorded: update() restores what was removed"
