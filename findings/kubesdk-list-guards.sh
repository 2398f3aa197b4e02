#!/usr/bin/env bash
# kubesdk: the guards it puts before a list change compare with the wrong entry; an update without any conflict fails.
#
# Expected: for custom resources update_k8s_resource(new, built_from_latest=old) sends a JSON patch in which `test`
#   operations guard "list items touched by the given JSON Patch"; it fails only if somebody else has changed the list.
# Seen: all guards compare with the list as it was before the patch, but RFC 6902 runs the operations one after the
#   other: if two entries are put in front of two others, the second guard finds the first new entry and fails. And the
#   guards' paths are not escaped (RFC 6901: `/` is `~1`): a key like example.dev/team in an entry becomes two path
#   segments, so every change of such an entry is refused. The patch without guards is right in all cases.
# Versions: PyPI kubesdk 0.3.4; judge: PyPI jsonpatch 1.33.
# What it means: a controller that puts two repositories or messages before the others, or edits an entry with a
#   prefixed label, gets 422 for ever, since a retry from the newest version computes the same patch. Use
#   ignore_list_conflicts=True with a `test` of metadata.resourceVersion.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kubesdk==0.3.4 kube-models==0.6.0 jsonpatch==1.33
cat > guards.py <<'PY'
import copy
import json

import jsonpatch
from kubesdk import guard_lists_from_json_patch_replacement, json_patch_from_diff


def update(title, old, new):
    old, new = {"spec": {"repositories": old}}, {"spec": {"repositories": new}}
    # What update_k8s_resource does with built_from_latest.
    patch = json_patch_from_diff(old, new)
    guarded = guard_lists_from_json_patch_replacement(copy.deepcopy(patch), old)
    assert jsonpatch.apply_patch(old, patch) == new
    try:
        jsonpatch.apply_patch(old, guarded)
        answer = "applied"
    except (jsonpatch.JsonPatchTestFailed, jsonpatch.JsonPatchConflict) as error:
        answer = type(error).__name__
    print(f"{title}: {answer}")
    for operation in guarded:
        print("  ", json.dumps(operation))


update("one inserted", [{"url": "a"}, {"url": "b"}], [{"url": "x"}, {"url": "a"}, {"url": "b"}])
update("two inserted", [{"url": "a"}, {"url": "b"}], [{"url": "x"}, {"url": "y"}, {"url": "a"}, {"url": "b"}])
update("prefixed label", [{"url": "a", "labels": {"example.dev/team": "t"}}],
       [{"url": "b", "labels": {"example.dev/team": "t"}}])
PY
venv/bin/python guards.py | tee seen
diff seen - <<'SEEN'
one inserted: applied
   {"op": "test", "path": "/spec/repositories/0/url", "value": "a"}
   {"op": "add", "path": "/spec/repositories/0", "value": {"url": "x"}}
two inserted: JsonPatchTestFailed
   {"op": "test", "path": "/spec/repositories/0/url", "value": "a"}
   {"op": "add", "path": "/spec/repositories/0", "value": {"url": "x"}}
   {"op": "test", "path": "/spec/repositories/1/url", "value": "b"}
   {"op": "add", "path": "/spec/repositories/1", "value": {"url": "y"}}
prefixed label: JsonPatchTestFailed
   {"op": "test", "path": "/spec/repositories/0/url", "value": "a"}
   {"op": "test", "path": "/spec/repositories/0/labels/example.dev/team", "value": "t"}
   {"op": "replace", "path": "/spec/repositories/0", "value": {"url": "b", "labels": {"example.dev/team": "t"}}}
SEEN
echo "as recorded: the guards fail without a conflict"
