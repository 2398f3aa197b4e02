#!/usr/bin/env bash
# kube-orchestrator: "like kubectl apply -f" never applies a changed Secret, ConfigMap or Role; the answer is "skip".
#
# Expected: ManifestApplier.apply_file is "like kubectl apply -f" and apply_manifest "create or update a single manifest
#   idempotently": what differs is written, what is equal is not.
# Seen: only `spec` is compared. An object without one (Secret, ConfigMap, Role, RoleBinding, ServiceAccount) is equal to
#   every other, so that changed data, labels and annotations are skipped for ever. On the other side an unchanged Deployment is never equal: the live object is compared in Python's spelling
#   (min_ready_seconds) and with the server's defaults, and is replaced by a PUT at each run, which takes away what others
#   have set. And whatever goes wrong in reading (403, 500) counts as "not there".
# Version: PyPI kube-orchestrator 1.0.0 with kubernetes 37.0.1.
# What it means: a rotated API key never reaches the agents, while the log says that all manifests are applied. Use
#   kubectl or server-side apply.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kube-orchestrator==1.0.0 kubernetes==37.0.1
cat > apply.py <<'PY'
import http.server
import json
import threading

from kube_orchestrator.core.client import KubeClient
from kube_orchestrator.core.config import KubeConfig
from kube_orchestrator.manifest.applier import ManifestApplier

stored, failing = {}, False


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

    def do_GET(self):
        if failing:
            self.answer(403, {"kind": "Status", "code": 403, "message": "forbidden"})
        elif self.path in stored:
            self.answer(200, stored[self.path])
        else:
            self.answer(404, {"kind": "Status", "code": 404, "message": "not found"})

    def write(self, path):
        stored[path] = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.answer(200, stored[path])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        new = json.loads(body)
        stored[f"{self.path}/{new['metadata']['name']}"] = new
        self.answer(201, new)

    def do_PUT(self):
        self.write(self.path)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
threading.Thread(target=server.serve_forever, daemon=True).start()
with open("kubeconfig", "w") as file:
    json.dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "a", "user": {}}], "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    }, file)
config = KubeConfig()
config.load_from_file("kubeconfig")
applier = ManifestApplier(KubeClient(config))


def apply(title, manifest):
    action = applier.apply_manifest(manifest)["action"]
    print(f"{title}: {action}")


def secret(key):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": "default"}, "data": {"key": key}}


def deployment(labels):
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "default", "labels": labels},
        "spec": {"minReadySeconds": 5, "selector": {"matchLabels": {"app": "a"}}, "template": {
            "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}}},
    }


apply("a new Secret", secret("b2xk"))
apply("the Secret with a rotated key", secret("bmV3"))
print("  stored:", stored["/api/v1/namespaces/default/secrets/key"]["data"])
apply("a new Deployment", deployment({}))
apply("the same Deployment", deployment({}))
failing = True
print("planned for the Secret, if reading is forbidden:", applier.decide_action(applier.get_live_resource(secret("b2xk")), secret("b2xk")))
PY
venv/bin/python apply.py 2> /dev/null | tee seen
diff seen - <<'SEEN'
a new Secret: create
the Secret with a rotated key: skip
  stored: {'key': 'b2xk'}
a new Deployment: create
the same Deployment: update
planned for the Secret, if reading is forbidden: create
SEEN
echo "as recorded: the new key is skipped"
