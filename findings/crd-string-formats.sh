#!/usr/bin/env bash
# `format: duration` of a CRD takes "3 days" and "PT1H30M", which Go cannot parse, and JSON Schema libraries refuse "1h30m".
#
# Expected: the formats of a CRD are those of JSON Schema, so an editor's or CI's validator and the server agree; and
#   "duration" in Kubernetes is Go's, so that what passes can be parsed by the controller as a metav1.Duration.
# Seen: the server's checker (k8s.io/kube-openapi strfmt) takes Go's form, ISO 8601 and words ("3 days", "1d").
#   time.ParseDuration takes the first only, ajv-formats and Python's jsonschema the second only: no value passes all.
#   A uri may be "/a/b" for the server. A hostname may not be an IPv4 address. ajv-formats takes a date-time with a
#   space for its T, which the server refuses.
# Versions: k8s.io/kube-openapi as in Kubernetes 1.37 (d427ff9ee9ad); npm ajv 8.20.0, ajv-formats 3.0.1; PyPI jsonschema
#   4.26.0 with its format extra.
# What it means: a CRD for agent sessions that relies on `format: duration` or `uri` admits values on which its
#   controller fails later. Use a pattern, or a CEL rule with duration() and url(), and whole seconds as integers.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'jsonschema[format]==4.26.0'
npm install --silent --no-audit --no-fund --prefix "$work" ajv@8.20.0 ajv-formats@3.0.1

cat > values.txt <<'TXT'
duration 1h30m
duration PT1H30M
duration 3 days
duration 1d
date-time 2026-01-02T03:04:05Z
date-time 2026-01-02 03:04:05Z
uri https://example.com/a
uri /a/b
hostname example.com
hostname 10.0.0.1
TXT
mkdir judge && cd judge
cat > go.mod <<'MOD'
module judge

go 1.26.0

require k8s.io/kube-openapi v0.0.0-20260721132016-d427ff9ee9ad
MOD
cat > main.go <<'GO'
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"

	"k8s.io/kube-openapi/pkg/validation/strfmt"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		format, value, _ := strings.Cut(lines.Text(), " ")
		parses := "-"
		if format == "duration" {
			_, err := time.ParseDuration(value)
			parses = fmt.Sprint(err == nil)
		}
		fmt.Printf("%v|%s\n", strfmt.Default.Validates(format, value), parses)
	}
}
GO
go mod tidy > /dev/null 2>&1
go build -o ../judge-formats .
cd ..
cat > formats.mjs <<'JS'
import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
const ajv = new Ajv();
addFormats.default(ajv);
for (const line of readFileSync('values.txt', 'utf8').trim().split('\n')) {
  const [, format, value] = line.match(/^(\S+) (.*)$/);
  console.log(ajv.validate({ type: 'string', format }, value));
}
JS
cat > formats.py <<'PY'
import jsonschema

checker = jsonschema.FormatChecker()
for line in open("values.txt"):
    form, value = line.rstrip("\n").split(" ", 1)
    assert form in checker.checkers
    print(str(checker.conforms(value, form)).lower())
PY

./judge-formats < values.txt > of-go
node formats.mjs > of-ajv
venv/bin/python formats.py > of-python
{ echo 'server|ParseDuration|ajv|jsonschema|value'; paste -d '|' of-go of-ajv of-python values.txt; } | tee seen
diff seen - <<'SEEN'
server|ParseDuration|ajv|jsonschema|value
true|true|false|false|duration 1h30m
true|false|true|true|duration PT1H30M
true|false|false|false|duration 3 days
true|false|false|false|duration 1d
true|-|true|true|date-time 2026-01-02T03:04:05Z
false|-|true|false|date-time 2026-01-02 03:04:05Z
true|-|true|true|uri https://example.com/a
true|-|false|false|uri /a/b
true|-|true|true|hostname example.com
false|-|true|true|hostname 10.0.0.1
SEEN
echo "as recorded: the formats of CRDs are not those of JSON Schema, nor always those of Go"
