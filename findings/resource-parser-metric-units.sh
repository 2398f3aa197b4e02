#!/usr/bin/env bash
# kubernetes-resource-parser reads a quarter of a core as 250 million cores: it drops the unit of the metrics API.
#
# Expected: a package that "parses Kubernetes resources" knows the suffixes of a Quantity: n, u, m, k, M, …, Ki, Mi, …,
#   and the exponent form. The metrics API prints CPU in nanocores ("250000000n" is a quarter of a core).
# Seen: cpuParser only knows `m` and drops any other letter: "250000000n" is 250000000 cores, "1500u" is 1500, "2k"
#   is 2. memoryParser cuts at the first character that is no digit: "1.5Gi" is 1 byte, "1e9" is 1, "1500m" is NaN.
#   No error in any of these cases. k8s-resource-parser gets the memory right and throws for n and u.
# Versions: npm kubernetes-resource-parser 0.1.0, k8s-resource-parser 0.2.2; judge: k8s.io/apimachinery 0.37.2.
# What it means: an autoscaler or a budget page for agent Pods that reads metrics.k8s.io through it is wrong by a factor
#   of a billion. @kubernetes/client-node parses n and u.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" kubernetes-resource-parser@0.1.0 k8s-resource-parser@0.2.2
mkdir judge && cd judge
cat > go.mod <<'MOD'
module judge

go 1.26.0

require k8s.io/apimachinery v0.37.2
MOD
cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/api/resource"
)

func main() {
	for _, text := range os.Args[1:] {
		quantity := resource.MustParse(text)
		fmt.Printf("kubernetes %s %v\n", text, quantity.AsApproximateFloat64())
	}
}
GO
go mod tidy > /dev/null 2>&1
go build -o ../judge-quantities .
cd ..
cat > parse.mjs <<'JS'
import * as one from 'kubernetes-resource-parser';
import * as two from 'k8s-resource-parser';
const attempt = (parse, text) => { try { return parse(text); } catch { return 'throws'; } };
for (const text of ['250000000n', '1500u', '2k']) console.log('cpu', text, one.cpuParser(text), attempt(two.cpuParser, text));
for (const text of ['1.5Gi', '1e9', '1500m']) console.log('memory', text, one.memoryParser(text), attempt(two.memoryParser, text));
JS
{ ./judge-quantities 250000000n 1500u 2k 1.5Gi 1e9 1500m; node parse.mjs; } | tee seen
diff seen - <<'SEEN'
kubernetes 250000000n 0.25
kubernetes 1500u 0.0015
kubernetes 2k 2000
kubernetes 1.5Gi 1.610612736e+09
kubernetes 1e9 1e+09
kubernetes 1500m 1.5
cpu 250000000n 250000000 throws
cpu 1500u 1500 throws
cpu 2k 2 2000
memory 1.5Gi 1 1610612736
memory 1e9 1 1000000000
memory 1500m NaN 1.5
SEEN
echo "as recorded: units other than m are dropped without an error"
