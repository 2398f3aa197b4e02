#!/usr/bin/env bash
# The parser of Python's prometheus_client renames a counter that has no `_total`, in the samples, too.
#
# Expected: in the Prometheus text format 0.0.4, which this parser reads, the name of a sample is as written; the suffix
#   _total is a convention there (only OpenMetrics demands it). The Go parser, and Prometheus itself, keep the name.
# Seen: for `# TYPE agent_sessions counter` the sample agent_sessions comes out as agent_sessions_total. Written again
#   with generate_latest, the series has the new name. The same line without its TYPE keeps its name, so the name that
#   a consumer finds depends on a comment line.
# Versions: PyPI prometheus_client 0.26.0; judge: Go github.com/prometheus/common/expfmt 0.67.1.
# What it means: tests and relays that look up an exporter's counter by the name on its page find nothing; a relay
#   doubles the series under a second name. Name counters with _total.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check prometheus_client==0.26.0

cat > page.txt <<'TXT'
# TYPE agent_sessions counter
agent_sessions{phase="Running"} 3
agent_runs{phase="Running"} 4
TXT
cat > read.py <<'PY'
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

families = list(text_string_to_metric_families(open("page.txt").read()))
for family in families:
    for sample in family.samples:
        print("python", sample.name, float(sample.value))

class Relay:
    def collect(self):
        return families

registry = CollectorRegistry()
registry.register(Relay())
for line in generate_latest(registry).decode().splitlines():
    if not line.startswith("#"):
        print("relayed", line)
PY
mkdir judge && cd judge
cat > go.mod <<'MOD'
module judge

go 1.26.0

require github.com/prometheus/common v0.67.1
MOD
cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"sort"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func main() {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(os.Stdin)
	if err != nil {
		panic(err)
	}
	names := []string{}
	for name := range families {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Println("go", name)
	}
}
GO
go mod tidy > /dev/null 2>&1
go build -o ../read-page .
cd ..

{ ./read-page < page.txt; venv/bin/python read.py; } | tee seen
diff seen - <<'SEEN'
go agent_runs
go agent_sessions
python agent_sessions_total 3.0
python agent_runs 4.0
relayed agent_sessions_total{phase="Running"} 3.0
relayed agent_runs{phase="Running"} 4.0
SEEN
echo "as recorded: a counter without _total is renamed by the parser"
