#!/usr/bin/env bash
# None of five CEL libraries for Python and JavaScript evaluates a CRD's rules as the API server does.
#
# Expected: CEL is one language with a specification and conformance tests; a rule of x-kubernetes-validations that is
#   tested in CI by a library on the parsed manifest has the same result in the cluster. In the server a whole number is
#   an int by its schema, numbers of different types can be compared, has() of a member of an absent parent is an error
#   ("no such key"), an error next to `||` is absorbed if the other side is true, and map() may have a filter.
# Seen, each library wrong in another place:
#   cel-js divides like JavaScript (7 / 2 is 3.5), absorbs no error, and has(s.absent.member) is false;
#   celpy raises a ValueError of Python for map() with a filter, cannot compare an int with a double, and
#   has(s.absent.member) is false; common-expression-language loses the absorbed error inside exists();
#   bufbuild's says that has() of a member that is null is false, the specification says true for a key that is there;
#   bufbuild's and marcbachmann's take every JSON number for a double: `s.n + 1` fails, s.id loses its last digit.
# Versions: PyPI cel-python 0.5.0, common-expression-language 0.10.0; npm cel-js 0.8.2, @marcbachmann/cel-js 8.0.0,
#   @bufbuild/cel 0.6.1; judge: Go github.com/google/cel-go 0.26.1 with cross-type comparisons, whole numbers as int.
# What it means: rules that pass their unit tests refuse sessions in the cluster, and the other way round. Test rules
#   with the server (`kubectl apply --dry-run=server`) or with cel-go. With the JavaScript ones convert to BigInt first.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cel-python==0.5.0 common-expression-language==0.10.0
npm install --silent --no-audit --no-fund --prefix "$work" cel-js@0.8.2 @marcbachmann/cel-js@8.0.0 @bufbuild/cel@0.6.1

cat > object.json <<'JSON'
{"n": 7, "cost": 1.5, "whole": 2.0, "list": [1, 2], "none": null, "id": 9007199254740993,
 "conditions": [{"type": "Ready"}, {"type": "Done", "reason": "Merged"}]}
JSON
cat > rules.txt <<'TXT'
s.cost > 1.0
s.n / 2 == 3
s.n + 1 == 8
s.n > 1.5
s.id != 9007199254740992
s.list.map(x, x > 1, x * 2) == [4]
has(s.none)
has(s.absent.member)
s.absent == 1 || s.n == 7
s.conditions.exists(c, c.reason == "Merged")
TXT
mkdir judge && cd judge
cat > go.mod <<'MOD'
module judge

go 1.26.0

require github.com/google/cel-go v0.26.1
MOD
cat > main.go <<'GO'
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/google/cel-go/cel"
)

// What the schema does in the server: whole numbers are ints.
func typed(value any) any {
	switch value := value.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole
		}
		number, _ := value.Float64()
		return number
	case []any:
		for i := range value {
			value[i] = typed(value[i])
		}
	case map[string]any:
		for key := range value {
			value[key] = typed(value[key])
		}
	}
	return value
}

func main() {
	file, err := os.Open("object.json")
	if err != nil {
		panic(err)
	}
	decoder := json.NewDecoder(file)
	decoder.UseNumber()
	var object any
	if err := decoder.Decode(&object); err != nil {
		panic(err)
	}
	env, err := cel.NewEnv(cel.Variable("s", cel.DynType), cel.CrossTypeNumericComparisons(true))
	if err != nil {
		panic(err)
	}
	rules := bufio.NewScanner(os.Stdin)
	for rules.Scan() {
		ast, issues := env.Compile(rules.Text())
		if issues.Err() != nil {
			panic(issues.Err())
		}
		program, err := env.Program(ast)
		if err != nil {
			panic(err)
		}
		if result, _, err := program.Eval(map[string]any{"s": typed(object)}); err != nil {
			fmt.Println("error")
		} else {
			fmt.Println(result.Value())
		}
	}
}
GO
go mod tidy > /dev/null 2>&1
go build -o ../judge-rules .
cd ..

cat > rules.py <<'PY'
import json
import sys

import cel
import celpy

environment = celpy.Environment()
evaluate = {
    "celpy": lambda rule, s: environment.program(environment.compile(rule)).evaluate({"s": celpy.json_to_cel(s)}),
    "common": lambda rule, s: cel.evaluate(rule, {"s": s}),
}[sys.argv[1]]
s = json.load(open("object.json"))
for rule in open("rules.txt"):
    try:
        print(str(bool(evaluate(rule.strip(), s))).lower())
    except Exception:
        print("error")
PY
cat > rules.mjs <<'JS'
import { readFileSync } from 'node:fs';
import { run } from '@bufbuild/cel';
import * as celJs from 'cel-js';
import * as marcbachmann from '@marcbachmann/cel-js';
const evaluate = { 'cel-js': celJs.evaluate, marcbachmann: marcbachmann.evaluate, bufbuild: run }[process.argv[2]];
const s = JSON.parse(readFileSync('object.json', 'utf8'));
for (const rule of readFileSync('rules.txt', 'utf8').trim().split('\n')) {
  try {
    const result = evaluate(rule, { s });
    console.log(result instanceof Error ? 'error' : String(result));
  } catch { console.log('error'); }
}
JS

./judge-rules < rules.txt > of-the-server
for library in celpy common; do venv/bin/python rules.py "$library" > "of-$library"; done
for library in cel-js marcbachmann bufbuild; do node rules.mjs "$library" > "of-$library"; done
{
  echo 'server|celpy|common|cel-js|marcb.|bufbuild|rule'
  paste -d '|' of-the-server of-celpy of-common of-cel-js of-marcbachmann of-bufbuild rules.txt
} | tee seen
diff seen - <<'SEEN'
server|celpy|common|cel-js|marcb.|bufbuild|rule
true|true|true|true|true|true|s.cost > 1.0
true|true|true|false|error|error|s.n / 2 == 3
true|true|true|true|error|error|s.n + 1 == 8
true|error|true|true|true|true|s.n > 1.5
true|true|true|false|false|false|s.id != 9007199254740992
true|error|true|true|error|error|s.list.map(x, x > 1, x * 2) == [4]
true|true|true|true|true|false|has(s.none)
error|false|error|false|error|error|has(s.absent.member)
true|true|true|error|true|true|s.absent == 1 || s.n == 7
true|true|error|error|true|true|s.conditions.exists(c, c.reason == "Merged")
SEEN
echo "as recorded: every library differs from the server in some of these rules"
