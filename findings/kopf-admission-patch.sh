#!/usr/bin/env bash
# kopf: an admission handler that sets `emptyDir: {}` changes nothing; one that removes a field can remove the spec.
#
# Expected: `patch` in a kopf handler is filled like a merge patch (RFC 7396): an empty object is a value, null removes
#   the member, and the object around it stays, also when it is empty then. For admission, kopf turns it into a JSON
#   patch with the same effect.
# Seen: an empty object disappears on the way: no operation at all for spec.workspace = {"emptyDir": {}}. Removing the
#   last member of an object removes that object, and its parent if it is empty then, up to /spec. The merge patch that
#   kopf sends for other handlers, from the same `patch`, does what the RFC says: one line of code, two effects.
# Versions: PyPI kopf 1.45.2; judge: PyPI json-merge-patch 0.3.0, jsonpatch 1.33.
# What it means: a webhook that gives agent sessions an empty workspace, or {} to ask for a default, does nothing and
#   answers "allowed"; one that drops spec.suspend makes an object that is refused for its missing spec, or, where spec is
#   optional, differs from what was meant. Append a function of the body to patch.fns instead, or set a member inside.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kopf==1.45.2 json-merge-patch==0.3.0 jsonpatch==1.33

cat > patch.py <<'PY'
import copy
import json

import json_merge_patch
import jsonpatch
import kopf

for spec, key, value in (
    ({"mode": "auto"}, "mode", "plan"),
    ({"mode": "auto"}, "workspace", {"emptyDir": {}}),
    ({"mode": "auto"}, "defaults", {}),
    ({"mode": "auto", "limits": {"hours": 1}}, "limits", {"hours": None}),
    ({"suspend": True}, "suspend", None),
):
    body = {"metadata": {"name": "a"}, "spec": spec}
    patch = kopf.Patch(body=kopf.Body(copy.deepcopy(body)))
    patch.spec[key] = value
    operations = patch.as_json_patch()
    by_rfc = json_merge_patch.merge(copy.deepcopy(body), json.loads(json.dumps(dict(patch))))
    by_kopf = jsonpatch.apply_patch(body, operations)
    print(f"{json.dumps(spec)} {key}={json.dumps(value)}")
    print("  RFC 7396: ", json.dumps(by_rfc.get("spec")))
    print("  admission:", json.dumps(by_kopf.get("spec")))
PY
venv/bin/python patch.py | tee seen
diff seen - <<'SEEN'
{"mode": "auto"} mode="plan"
  RFC 7396:  {"mode": "plan"}
  admission: {"mode": "plan"}
{"mode": "auto"} workspace={"emptyDir": {}}
  RFC 7396:  {"mode": "auto", "workspace": {"emptyDir": {}}}
  admission: {"mode": "auto"}
{"mode": "auto"} defaults={}
  RFC 7396:  {"mode": "auto", "defaults": {}}
  admission: {"mode": "auto"}
{"mode": "auto", "limits": {"hours": 1}} limits={"hours": null}
  RFC 7396:  {"mode": "auto", "limits": {}}
  admission: {"mode": "auto"}
{"suspend": true} suspend=null
  RFC 7396:  {}
  admission: null
SEEN
echo "as recorded: empty objects do not survive kopf's admission patch"
