#!/usr/bin/env bash
# npm rfc6902 goes on after a failed `test` and applies the operations that it was to guard.
#
# Expected: RFC 6902, section 5: evaluation stops at the first operation that fails, and as RFC 5789 asks, nothing of the
#   patch may then be visible. The library's own README repeats: "the entire patch is considered to be a failure".
# Seen: rfc6902's applyPatch reports the failed test as one item of the list it returns, applies the operations before
#   *and after* it to the document, and throws nothing. fast-json-patch and jiff's patchInPlace throw, but leave the
#   operations before the test in the document. json8-patch and jsonpatch leave the document as it was.
# Versions: npm rfc6902 5.1.2, fast-json-patch 3.1.1, jiff 0.7.3, json8-patch 1.0.6, jsonpatch 3.1.0.
# What it means: the usual "test that nobody holds the session, then take it" has no guard in a local model or a mock of
#   the API server built on these. Patch a copy, and look at every item of rfc6902's answer.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" rfc6902@5.1.2 fast-json-patch@3.1.1 jiff@0.7.3 json8-patch@1.0.6 jsonpatch@3.1.0
cat > guard.mjs <<'JS'
import fast from 'fast-json-patch';
import jiff from 'jiff';
import json8 from 'json8-patch';
import jsonpatch from 'jsonpatch';
import { applyPatch } from 'rfc6902';

const patch = [
  { op: 'add', path: '/before', value: 1 },
  { op: 'test', path: '/holder', value: 'nobody' },
  { op: 'replace', path: '/holder', value: 'me' },
];
const libraries = {
  rfc6902: (document) => applyPatch(document, patch),
  'fast-json-patch': (document) => fast.applyPatch(document, patch),
  jiff: (document) => jiff.patchInPlace(patch, document),
  'json8-patch': (document) => json8.apply(document, patch),
  jsonpatch: (document) => jsonpatch.apply_patch(document, patch),
};
for (const [library, apply] of Object.entries(libraries)) {
  const document = { holder: 'somebody' };
  let outcome = 'returns';
  try { apply(document); } catch { outcome = 'throws'; }
  console.log(library, outcome, JSON.stringify(document));
}
JS
node guard.mjs | tee seen
diff seen - <<'SEEN'
rfc6902 returns {"holder":"me","before":1}
fast-json-patch throws {"holder":"somebody","before":1}
jiff throws {"holder":"somebody","before":1}
json8-patch throws {"holder":"somebody"}
jsonpatch throws {"holder":"somebody"}
SEEN
echo "as recorded: a failed test does not stop rfc6902"
