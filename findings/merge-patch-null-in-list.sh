#!/usr/bin/env bash
# A merge patch sent to the API server loses the nulls inside lists; RFC 7396 keeps them.
#
# Expected: application/merge-patch+json is RFC 7396 (the Kubernetes API concepts page says so). There a null removes a
#   member only while objects are merged; a list is a plain value, "replaced" whole, and what is in it stays as it is.
#   JSON patch, replace and create do keep {"a": null} inside a list of a custom resource with nullable fields.
# Seen: gopkg.in/evanphx/json-patch.v4, which the API server calls for custom resources, prunes nulls at any depth of a
#   new value, also inside lists and lists of lists: [{"a":null,"b":2}] is stored as [{"b":2}]. Null *items* stay. A
#   1.37.2 API server did the same on a CRD with x-kubernetes-preserve-unknown-fields; a JSON patch of the same value
#   kept the null. The PyPI and npm libraries of that RFC keep it.
# Versions: gopkg.in/evanphx/json-patch.v4 4.13.0 (Kubernetes 1.37.2); PyPI json-merge-patch 0.3.0; npm
#   json-merge-patch 1.0.2, json8-merge-patch 1.0.4.
# What it means: a controller that computes the object after its own patch with an RFC library, and compares, sees a
#   difference for ever and patches again at every pass. Compare with the answer of the patch request instead.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check json-merge-patch==0.3.0
npm install --silent --no-audit --no-fund --prefix "$work" json-merge-patch@1.0.2 json8-merge-patch@1.0.4

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
	merged, err := jsonpatch.MergePatch([]byte(os.Args[1]), []byte(os.Args[2]))
	if err != nil {
		panic(err)
	}
	fmt.Println("server", string(merged))
}
GO
go mod tidy > /dev/null 2>&1
go build -o ../merge .
cd ..

stored='{"list":[{"a":1,"b":1}]}'
patch='{"list":[{"a":null,"b":2},null,[{"c":null}]]}'
{
  ./merge "$stored" "$patch"
  venv/bin/python - "$stored" "$patch" <<'PY'
import json, sys
import json_merge_patch
print("python", json.dumps(json_merge_patch.merge(*map(json.loads, sys.argv[1:])), separators=(",", ":")))
PY
  node --input-type=module - "$stored" "$patch" <<'JS'
import one from 'json-merge-patch';
import two from 'json8-merge-patch';
const [stored, patch] = process.argv.slice(-2);
for (const [name, library] of Object.entries({ 'json-merge-patch': one, 'json8-merge-patch': two })) {
  console.log(name, JSON.stringify(library.apply(JSON.parse(stored), JSON.parse(patch))));
}
JS
} | tee seen
diff seen - <<'SEEN'
server {"list":[{"b":2},null,[{}]]}
python {"list":[{"a":null,"b":2},null,[{"c":null}]]}
json-merge-patch {"list":[{"a":null,"b":2},null,[{"c":null}]]}
json8-merge-patch {"list":[{"a":null,"b":2},null,[{"c":null}]]}
SEEN
echo "as recorded: only the API server's library prunes inside lists"
