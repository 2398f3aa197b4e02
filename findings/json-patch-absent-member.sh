#!/usr/bin/env bash
# The API server's JSON patch finds members that do not exist: `test` with null passes, `replace` adds.
#
# Expected: application/json-patch+json is RFC 6902. There the target of `test` and of `replace` must exist ("The target
#   location MUST exist for the operation to be successful"), an operation without "value" is no valid `test`, and an
#   array index is digits only. Every RFC library below refuses all four.
# Seen: gopkg.in/evanphx/json-patch.v4, which the API server uses, takes an absent member for null: `test` with null, and
#   `test` without value, pass; `replace` of an absent member adds it; index -1 is the last element. Only `remove` of an
#   absent member fails. A 1.37.2 API server accepted the four patches on a custom resource as well.
# Versions: gopkg.in/evanphx/json-patch.v4 4.13.0 (Kubernetes 1.37.2); PyPI jsonpatch 1.33; npm fast-json-patch 3.1.1,
#   rfc6902 5.1.2.
# What it means: {"op":"test","path":"/status/launchID","value":null} is a working "only if nobody has launched yet" in a
#   cluster, and fails in every unit test that applies the patch with an RFC library; and `replace` is no guard against
#   a missing field, although the RFC says so.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check jsonpatch==1.33
npm install --silent --no-audit --no-fund --prefix "$work" fast-json-patch@3.1.1 rfc6902@5.1.2

mkdir server && cd server
cat > go.mod <<'MOD'
module server

go 1.26.0

require gopkg.in/evanphx/json-patch.v4 v4.13.0
MOD
cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

func main() {
	for _, operation := range os.Args[2:] {
		patch, err := jsonpatch.DecodePatch([]byte("[" + operation + "]"))
		if err != nil {
			panic(err)
		}
		verdict := "accepted"
		if _, err = patch.Apply([]byte(os.Args[1])); err != nil {
			verdict = "refused"
		}
		fmt.Print(verdict, " ")
	}
	fmt.Println("server")
}
GO
go mod tidy > /dev/null 2>&1
go build -o ../apply .
cd ..
cat > apply.py <<'PY'
import json, sys
import jsonpatch
for operation in sys.argv[2:]:
    try:
        jsonpatch.apply_patch(json.loads(sys.argv[1]), [json.loads(operation)])
        print("accepted", end=" ")
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        print("refused", end=" ")
print("jsonpatch")
PY
cat > apply.mjs <<'JS'
import fast from 'fast-json-patch';
import { applyPatch } from 'rfc6902';
const [, , document, ...operations] = process.argv;
const libraries = {
  'fast-json-patch': (target, patch) => fast.applyPatch(target, patch, true),
  rfc6902: (target, patch) => { const error = applyPatch(target, patch).find(Boolean); if (error) throw error; },
};
for (const library in libraries) {
  const verdicts = operations.map((operation) => {
    try { libraries[library](JSON.parse(document), [JSON.parse(operation)]); return 'accepted'; } catch { return 'refused'; }
  });
  console.log(...verdicts, library);
}
JS
document='{"status":{"items":["first"]}}'
operations=(
  '{"op":"test","path":"/status/launchID","value":null}'
  '{"op":"test","path":"/status/launchID"}'
  '{"op":"replace","path":"/status/launchID","value":"a"}'
  '{"op":"test","path":"/status/items/-1","value":"first"}'
  '{"op":"remove","path":"/status/launchID"}'
)
printf '%s\n' "$document" "${operations[@]}"
{
  ./apply "$document" "${operations[@]}"
  venv/bin/python apply.py "$document" "${operations[@]}"
  node apply.mjs "$document" "${operations[@]}"
} | tee seen
diff seen - <<'SEEN'
accepted accepted accepted accepted refused server
refused refused refused refused refused jsonpatch
refused refused refused refused refused fast-json-patch
refused accepted refused refused refused rfc6902
SEEN
echo "as recorded: the API server's library takes an absent member for null"
