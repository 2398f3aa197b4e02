#!/usr/bin/env bash
# Python clients can read a Lease that they cannot write back: whole seconds lose their fraction.
#
# Expected: get, change one field, replace. What the API server sends, a client can send again.
# Seen: spec.renewTime and spec.acquireTime of a Lease (and eventTime of an Event) are of type MicroTime. The API
#   server prints "…05.000000Z" and accepts exactly six digits of fraction. The Python clients turn the text into a
#   datetime and print it with isoformat(), which leaves the fraction out when it is zero: the server answers
#   400 "parsing time … cannot parse "Z" as ".000000"". With datetime.now() this strikes once in a million writes;
#   with a Lease written by a tool that counts in whole seconds it strikes every time.
#   The JavaScript client's types say V1MicroTime; what it hands out is a string, and a Date put in its place is
#   sent with three digits, which the server refuses as well.
# Versions: PyPI kubernetes 37.0.2, kubernetes_asyncio 36.1.0, lightkube 1.0.1; npm @kubernetes/client-node 1.4.0;
#   judge: k8s.io/apimachinery 0.37.2, the API server's own decoder (a 1.37.2 API server answered the same 400).
# What it means: leader election or a session lock in Python on coordination.k8s.io/v1 fails at random, once in a
#   long while, and looks like a lost lease. Never hand a datetime with microsecond=0 to these clients.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kubernetes==37.0.2 kubernetes_asyncio==36.1.0 lightkube==1.0.1
npm install --silent --no-audit --no-fund --prefix "$work" @kubernetes/client-node@1.4.0

cat > times.py <<'PY'
import asyncio, json
lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "lock"},
         "spec": {"holderIdentity": "a", "renewTime": "2026-01-02T03:04:05.000000Z"}}

class Answer:
    data = json.dumps(lease)

def official():
    from kubernetes import client
    api = client.ApiClient()
    read = api.deserialize(json.dumps(lease), "V1Lease", "application/json")
    return api.sanitize_for_serialization(read)["spec"]["renewTime"]

def official_async():
    from kubernetes_asyncio import client
    async def go():
        async with client.ApiClient() as api:
            read = api.deserialize(Answer, "V1Lease")
            return api.sanitize_for_serialization(read)["spec"]["renewTime"]
    return asyncio.run(go())

def lightkube():
    from lightkube.resources.coordination_v1 import Lease
    return Lease.from_dict(lease).to_dict()["spec"]["renewTime"]

for client in (official, official_async, lightkube):
    print(client.__name__, client())
PY
cat > times.mjs <<'JS'
import { ObjectSerializer } from '@kubernetes/client-node/dist/gen/models/ObjectSerializer.js';
const lease = ObjectSerializer.deserialize({ metadata: { name: 'lock' }, spec: { renewTime: '2026-01-02T03:04:05.000000Z' } }, 'V1Lease', '');
console.log('javascript_read_back', ObjectSerializer.serialize(lease, 'V1Lease', '').spec.renewTime);
lease.spec.renewTime = new Date(Date.UTC(2026, 0, 2, 3, 4, 5));
console.log('javascript_date', ObjectSerializer.serialize(lease, 'V1Lease', '').spec.renewTime.toISOString());
JS
mkdir judge && cd judge
cat > go.mod <<'MOD'
module judge

go 1.26.0

require k8s.io/apimachinery v0.37.2
MOD
cat > main.go <<'GO'
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		var time metav1.MicroTime
		verdict := "accepted"
		if err := time.UnmarshalJSON([]byte(`"` + words[1] + `"`)); err != nil {
			verdict = "refused"
		}
		fmt.Println(words[0], words[1], verdict)
	}
}
GO
go mod tidy > /dev/null 2>&1
cd ..
{ venv/bin/python times.py; node times.mjs; } > written
(cd judge && go run .) < written | tee seen
diff seen - <<'SEEN'
official 2026-01-02T03:04:05+00:00 refused
official_async 2026-01-02T03:04:05+00:00 refused
lightkube 2026-01-02T03:04:05Z refused
javascript_read_back 2026-01-02T03:04:05.000000Z accepted
javascript_date 2026-01-02T03:04:05.000Z refused
SEEN
echo "as recorded: three Python clients write a MicroTime that the API server refuses"
