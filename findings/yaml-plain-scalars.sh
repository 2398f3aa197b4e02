#!/usr/bin/env bash
# Strings that YAML libraries write without quotes arrive in Kubernetes as numbers and booleans.
#
# Expected: a library that dumps the *string* "y" or "1234e12" as YAML picks a form that is a string for the reader.
#   PyYAML implements YAML 1.1, the version that sigs.k8s.io/yaml follows, so at least those two should agree.
# Seen: they disagree on what a plain word means. PyYAML writes y, n, 1234e12, 0889123, 0o17 bare: kubectl and the API
#   server read true, false, 1.234e15, 889123, 15. ruamel.yaml and npm yaml (YAML 1.2) write yes, no, on, off bare: read
#   as booleans. npm yaml and dumpYaml of the official JavaScript client write 1_000 bare: read as 1000. cdk8s misses
#   0o17 alone of these.
# Versions: PyPI PyYAML 6.0.3, ruamel.yaml 0.18.16; npm yaml 2.8.1, @kubernetes/client-node 1.4.0, cdk8s 2.70.106 with
#   constructs 10.8.1; judge: sigs.k8s.io/yaml 1.6.0, the reader of kubectl, Helm and kustomize.
# What it means: labels and annotations that carry an abbreviated commit ("1234e12", "0889123"), an answer ("y") or a
#   branch called "on" make `kubectl apply` fail now and then: "cannot unmarshal number into … of type string". In a
#   field without a fixed type (a custom resource with unknown fields preserved) they change silently. Generate JSON.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check PyYAML==6.0.3 ruamel.yaml==0.18.16
npm install --silent --no-audit --no-fund --prefix "$work" yaml@2.8.1 @kubernetes/client-node@1.4.0 cdk8s@2.70.106 constructs@10.8.1

mkdir judge && cd judge
cat > go.mod <<'MOD'
module judge

go 1.26.0

require sigs.k8s.io/yaml v1.6.0
MOD
cat > main.go <<'GO'
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// One line of standard input: the library's name, the words, the YAML text of a list of these words.
func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var row struct {
			Library string
			Words   []string
			Text    string
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			panic(err)
		}
		var read []any
		if err := yaml.Unmarshal([]byte(row.Text), &read); err != nil {
			panic(err)
		}
		fmt.Print(row.Library)
		for i, word := range row.Words {
			if read[i] != word {
				fmt.Printf(" %s=%v", word, read[i])
			}
		}
		fmt.Println()
	}
}
GO
go mod tidy > /dev/null 2>&1
go build -o ../read .
cd ..

words='["y","n","yes","off","1234e12","0889123","0o17","1_000"]'
cat > write.py <<'PY'
import io, json, sys
import yaml
from ruamel.yaml import YAML
words = json.loads(sys.argv[1])
stream = io.StringIO()
YAML().dump(words, stream)
for library, text in (("PyYAML", yaml.safe_dump(words)), ("ruamel.yaml", stream.getvalue())):
    print(json.dumps({"library": library, "words": words, "text": text}))
PY
cat > write.mjs <<'JS'
import { stringify } from 'yaml';
import { dumpYaml } from '@kubernetes/client-node';
import { Yaml } from 'cdk8s';
const words = JSON.parse(process.argv[2]);
for (const [library, text] of Object.entries({ yaml: stringify(words), 'client-node': dumpYaml(words), cdk8s: Yaml.stringify(words) })) {
  console.log(JSON.stringify({ library, words, text }));
}
JS
{ venv/bin/python write.py "$words"; node write.mjs "$words"; } | ./read | tee seen
diff seen - <<'SEEN'
PyYAML y=true n=false 1234e12=1.234e+15 0889123=889123 0o17=15
ruamel.yaml y=true n=false yes=true off=false
yaml y=true n=false yes=true off=false 1_000=1000
client-node 1_000=1000
cdk8s 0o17=15
SEEN
echo "as recorded: every writer has strings that Kubernetes reads as something else"
