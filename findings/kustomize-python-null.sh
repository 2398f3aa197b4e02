#!/usr/bin/env bash
# kustomize (PyPI): a patch that removes a field becomes a patch that changes nothing, and `patches` cannot be used.
#
# Expected: "compile Python files into Kustomize files". In a strategic merge patch or JSON merge patch a member that is
#   null removes the field; in a JSON patch `value: null` sets it. Python's None is that null. `patches` is a list of
#   objects with path and target, in kustomize since version 2, and replaces the two deprecated fields.
# Seen: every None inside a dict is dropped from what is written, in patches as well: the merge patch that should remove
#   the deadline has an empty spec, the JSON patch has a replace without a value, which RFC 6902 forbids. An entry of
#   `patches` in kustomize's form raises AttributeError; the tool wants a bare string there, which kustomize refuses.
# Versions: PyPI kustomize 0.6.0 with PyYAML 6.0.3, which it needs and does not bring.
# What it means: an overlay that takes a limit, a toleration or an environment variable away keeps it without any
#   message, and the build of the overlay succeeds. Look into the generated patch for each null.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kustomize==0.6.0 PyYAML==6.0.3
mkdir overlay modern
cat > overlay/changes.py <<'PY'
identity = {"apiVersion": "agents.example/v1", "kind": "Session", "metadata": {"name": "fix-login"}}
session = identity | {"spec": {"prompt": "Fix the login", "deadline": "1h"}}
no_deadline = identity | {"spec": {"deadline": None}}
no_model = [{"op": "replace", "path": "/spec/model", "value": None}]
PY
cp overlay/changes.py modern/
cat > overlay/kustomization.py <<'PY'
kustomization = {
    "resources": ["changes:session"],
    "patchesStrategicMerge": ["changes:no_deadline"],
    "patchesJson6902": [{"target": {"group": "agents.example", "version": "v1", "kind": "Session",
                                    "name": "fix-login"}, "path": "changes:no_model"}],
}
PY
cat > modern/kustomization.py <<'PY'
kustomization = {"resources": ["changes:session"], "patches": [{"path": "changes:no_deadline"}]}
PY
{
  venv/bin/pykustomize overlay built 2> /dev/null
  echo "merge patch:"
  cat built/changes/no_deadline.yaml
  echo "JSON patch:"
  cat built/changes/no_model.yaml
  echo "patches:"
  venv/bin/pykustomize modern built-modern 2>&1 | tail -1 || true
} | tee seen
diff seen - <<'SEEN'
merge patch:
apiVersion: agents.example/v1
kind: Session
metadata:
  name: fix-login
spec: {}
JSON patch:
- op: replace
  path: /spec/model
patches:
AttributeError: 'dict' object has no attribute 'split'
SEEN
echo "as recorded: the null is gone"
