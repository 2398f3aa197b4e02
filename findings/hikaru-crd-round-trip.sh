#!/usr/bin/env bash
# hikaru: a CRD read from YAML and written again has lost its status subresource and its empty defaults.
#
# Expected: the library "allows you to smoothly move between Kubernetes YAML, Python objects, and Python source, in any
#   direction": load_full_yaml() and get_yaml() of a valid manifest give the same manifest. `emptyDir: {}` does survive.
# Seen: where the API's type has no members of its own, an empty object or list disappears: `subresources: {status: {}}`
#   becomes `subresources: {}`, and `default: {}` and `default: []` vanish, while `default: 0` and `default: false` stay.
#   A member that is newer than the models vanishes too (here restartPolicy of a sidecar with the models of 1.27).
# Versions: PyPI hikaru 1.3.0 (models of Kubernetes 1.27 and 1.28).
# What it means: a CRD that went through it has no status endpoint any more. The controller's update of the status
#   is answered 404, kubectl apply of an object may write its status, and nested defaults do not apply because the
#   object around them has no default. A sidecar becomes an init container that never ends, and the Pod never starts.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check hikaru==1.3.0

cat > crd.yaml <<'YAML'
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sessions.example.dev}
spec:
  group: example.dev
  scope: Namespaced
  names: {kind: Session, plural: sessions}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              default: {}
              properties:
                suspend: {type: boolean, default: false}
                retries: {type: integer, default: 0}
                tags: {type: array, default: [], items: {type: string}}
YAML
cat > pod.yaml <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: agent}
spec:
  initContainers: [{name: proxy, image: proxy, restartPolicy: Always}]
  containers: [{name: agent, image: agent}]
  volumes: [{name: work, emptyDir: {}}]
YAML
cat > round_trip.py <<'PY'
import json
import warnings

warnings.simplefilter("ignore")
import yaml
from hikaru import get_yaml, load_full_yaml, set_default_release


def differences(before, after, path=""):
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before:
            if name not in after:
                yield f"{path}/{name}: {json.dumps(before[name])} is lost"
            else:
                yield from differences(before[name], after[name], f"{path}/{name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after)):
            yield from differences(old, new, f"{path}/{index}")
    elif before != after:
        yield f"{path}: {json.dumps(before)} became {json.dumps(after)}"


for release, file in (("rel_1_28", "crd.yaml"), ("rel_1_28", "pod.yaml"), ("rel_1_27", "pod.yaml")):
    set_default_release(release)
    text = open(file).read()
    lost = list(differences(yaml.safe_load(text), yaml.safe_load(get_yaml(load_full_yaml(yaml=text)[0]))))
    print(f"{release} {file}:", "; ".join(lost) or "as before")
PY
venv/bin/python round_trip.py | tee seen
diff seen - <<'SEEN'
rel_1_28 crd.yaml: /spec/versions/0/subresources/status: {} is lost; /spec/versions/0/schema/openAPIV3Schema/properties/spec/default: {} is lost; /spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/tags/default: [] is lost
rel_1_28 pod.yaml: as before
rel_1_27 pod.yaml: /spec/initContainers/0/restartPolicy: "Always" is lost
SEEN
echo "as recorded: the round trip loses the status subresource"
