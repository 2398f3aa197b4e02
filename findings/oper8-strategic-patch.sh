#!/usr/bin/env bash
# oper8: its strategic merge patch writes directives into the object and keeps what they should remove.
#
# Expected: "This module implements Patch Strategic Merge following the semantics in" kustomize and Kubernetes. There
#   `$patch: replace` may stand in a map and in a list, `$retainKeys` clears the other members of a union such as a volume
#   or a strategy, finalizers are a set that is merged, a deletion of what is not there is no error, and a null in a new
#   map leaves the member out.
# Seen: only `$patch` in an element of a list with a merge key is known, and `$deleteFromPrimitiveList`. In a map both
#   directives are written into the object as members and nothing is removed: a Deployment with "Recreate" and
#   rollingUpdate, a volume with two sources, both invalid. Patched finalizers replace the list; a new map keeps its nulls;
#   `$patch: replace` for a list, and a deletion of an absent element, raise ValueError. kubectl 1.32 differs in all seven.
# Versions: PyPI oper8 0.1.40 with openshift 0.13.2; judge, if installed: kubectl patch --local.
# What it means: a TemporaryPatch written for kustomize or kubectl makes the operator's apply fail, or takes another
#   controller's finalizer off the object: what that one would clean up, a paid session say, stays.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check oper8==0.1.40 openshift==0.13.2 setuptools==84.2.1
cat > patch.py <<'PY'
import json
import shutil
import subprocess

from oper8.patch_strategic_merge import patch_strategic_merge

DEPLOYMENT = {
    "apiVersion": "apps/v1", "kind": "Deployment",
    "metadata": {"name": "agent", "finalizers": ["agents.example/stop"]},
    "spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
             "template": {"spec": {"containers": [{"name": "runner", "image": "runner:1"}],
                                   "volumes": [{"name": "work", "emptyDir": {}}]}}}}
LOOK = {
    "strategy": lambda d: d["spec"]["strategy"],
    "volumes": lambda d: d["spec"]["template"]["spec"]["volumes"],
    "containers": lambda d: d["spec"]["template"]["spec"]["containers"],
    "securityContext": lambda d: d["spec"]["template"]["spec"]["securityContext"],
    "finalizers": lambda d: d["metadata"]["finalizers"],
}


def pod(**spec):
    return {"spec": {"template": {"spec": spec}}}


PATCHES = [
    ("strategy", {"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}}),
    ("strategy", {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
    ("volumes", pod(volumes=[{"name": "work", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}])),
    ("containers", pod(containers=[{"$patch": "replace"}, {"name": "other", "image": "other:1"}])),
    ("containers", pod(containers=[{"name": "absent", "$patch": "delete"}])),
    ("securityContext", pod(securityContext={"runAsUser": None, "runAsGroup": 1})),
    ("finalizers", {"metadata": {"finalizers": ["team.example/bill"]}}),
]
RECORDED = [  # of kubectl 1.32
    '{"type": "Recreate"}',
    '{"type": "Recreate"}',
    '[{"name": "work", "secret": {"secretName": "s"}}]',
    '[{"image": "other:1", "name": "other"}]',
    '[{"image": "runner:1", "name": "runner"}]',
    '{"runAsGroup": 1}',
    '["team.example/bill", "agents.example/stop"]',
]
with open("deployment.json", "w") as file:
    json.dump(DEPLOYMENT, file)
for (part, patch), recorded in zip(PATCHES, RECORDED):
    try:
        seen = json.dumps(LOOK[part](patch_strategic_merge(DEPLOYMENT, patch)), sort_keys=True)
    except ValueError as error:
        seen = f"ValueError: {error}"
    print(json.dumps(patch))
    print("  oper8:", seen)
    if shutil.which("kubectl"):
        run = subprocess.run(["kubectl", "patch", "--local", "-f", "deployment.json", "--type", "strategic",
                              "-p", json.dumps(patch), "-o", "json"], capture_output=True, text=True, check=True)
        assert json.dumps(LOOK[part](json.loads(run.stdout)), sort_keys=True) == recorded, run.stdout
    print("  kubectl:", recorded)
PY
venv/bin/python patch.py | tee seen
diff seen - <<'SEEN'
{"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}}
  oper8: {"$patch": "replace", "rollingUpdate": {"maxSurge": 1}, "type": "Recreate"}
  kubectl: {"type": "Recreate"}
{"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
  oper8: {"$retainKeys": ["type"], "rollingUpdate": {"maxSurge": 1}, "type": "Recreate"}
  kubectl: {"type": "Recreate"}
{"spec": {"template": {"spec": {"volumes": [{"name": "work", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]}}}}
  oper8: [{"$retainKeys": ["name", "secret"], "emptyDir": {}, "name": "work", "secret": {"secretName": "s"}}]
  kubectl: [{"name": "work", "secret": {"secretName": "s"}}]
{"spec": {"template": {"spec": {"containers": [{"$patch": "replace"}, {"name": "other", "image": "other:1"}]}}}}
  oper8: ValueError: Desired at [Deployment.spec.template.spec.containers] contains elements without [name]
  kubectl: [{"image": "other:1", "name": "other"}]
{"spec": {"template": {"spec": {"containers": [{"name": "absent", "$patch": "delete"}]}}}}
  oper8: ValueError: Invalid [delete] on missing element [absent]
  kubectl: [{"image": "runner:1", "name": "runner"}]
{"spec": {"template": {"spec": {"securityContext": {"runAsUser": null, "runAsGroup": 1}}}}}
  oper8: {"runAsGroup": 1, "runAsUser": null}
  kubectl: {"runAsGroup": 1}
{"metadata": {"finalizers": ["team.example/bill"]}}
  oper8: ["team.example/bill"]
  kubectl: ["team.example/bill", "agents.example/stop"]
SEEN
echo "as recorded: directives end up in the object"
