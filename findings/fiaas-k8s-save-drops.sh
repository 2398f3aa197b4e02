#!/usr/bin/env bash
# PyPI k8s (the FIAAS client): get() and save() of a Deployment turn its volume claim into an empty directory.
#
# Expected: a client that reads an object, sets one label and writes it back with PUT keeps the fields that it does not
#   know, or refuses to write. The API's rule for PUT is that what is absent is removed.
# Seen: reading keeps only the fields of the library's own models, without a word, and save() is a PUT of them. The
#   persistentVolumeClaim of a volume is gone; the API server defaults a volume without a source to emptyDir. Gone are
#   also subPath, security contexts of Pod and container, tolerations and the startup probe. If the Deployment is
#   paused, `true` comes back as the string "True", which the API server refuses with 400.
# Version: PyPI k8s 0.28.0.
# What it means: setting a label on the Deployment of an agents' workspace puts the next Pod on an empty disk, as root
#   again. Use it for objects that it has created itself only, or patch with another client.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check k8s==0.28.0
cat > save.py <<'PY'
import http.server
import json
import threading

from k8s import config
from k8s.models.deployment import Deployment

stored = {
    "apiVersion": "apps/v1", "kind": "Deployment",
    "metadata": {"name": "agent", "namespace": "default", "resourceVersion": "7"},
    "spec": {
        "replicas": 1, "paused": True, "selector": {"matchLabels": {"app": "agent"}},
        "template": {
            "metadata": {"labels": {"app": "agent"}},
            "spec": {
                "securityContext": {"runAsNonRoot": True},
                "tolerations": [{"key": "agents", "operator": "Exists"}],
                "containers": [{
                    "name": "agent", "image": "agent",
                    "securityContext": {"allowPrivilegeEscalation": False},
                    "startupProbe": {"httpGet": {"path": "/", "port": 80}},
                    "volumeMounts": [{"name": "work", "mountPath": "/work", "subPath": "a"}],
                }],
                "volumes": [{"name": "work", "persistentVolumeClaim": {"claimName": "work"}}],
            },
        },
    },
}
written = []


class ApiServer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_): pass

    def do_GET(self):
        self.answer(stored)

    def do_PUT(self):
        written.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.answer(written[-1])

    def answer(self, body):
        body = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
threading.Thread(target=server.serve_forever, daemon=True).start()
config.api_server = f"http://127.0.0.1:{server.server_port}"

deployment = Deployment.get("agent", "default")
deployment.metadata.labels = {"team": "a"}
deployment.save()


def leaves(value, path=""):
    if isinstance(value, dict) and value:
        for key, member in value.items():
            yield from leaves(member, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for index, member in enumerate(value):
            yield from leaves(member, f"{path}[{index}]")
    else:
        yield path, value


now = dict(leaves(written[0]["spec"]))
for path, value in leaves(stored["spec"]):
    if path not in now:
        print("lost:", path)
    elif now[path] != value:
        print("changed:", path, repr(value), "->", repr(now[path]))
print("volumes:", written[0]["spec"]["template"]["spec"]["volumes"])
PY
venv/bin/python save.py | tee seen
diff seen - <<'SEEN'
changed: .paused True -> 'True'
lost: .template.spec.securityContext.runAsNonRoot
lost: .template.spec.tolerations[0].key
lost: .template.spec.tolerations[0].operator
lost: .template.spec.containers[0].securityContext.allowPrivilegeEscalation
lost: .template.spec.containers[0].startupProbe.httpGet.path
lost: .template.spec.containers[0].startupProbe.httpGet.port
lost: .template.spec.containers[0].volumeMounts[0].subPath
lost: .template.spec.volumes[0].persistentVolumeClaim.claimName
volumes: [{'name': 'work'}]
SEEN
echo "as recorded: what the models do not know is removed"
