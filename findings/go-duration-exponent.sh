#!/usr/bin/env bash
# durationpy writes durations that Go refuses ("100h1e-05s") or that are another duration ("1s" for 1.000001 s).
#
# Expected: durationpy, a dependency of the official Kubernetes client, is a "module for converting between
#   datetime.timedelta and Go's Duration strings". A timedelta has whole microseconds, Go's string has nine digits, so
#   to_str() loses nothing and time.ParseDuration, which reads every metav1.Duration, takes the result.
# Seen: from one second on, the seconds are printed with six significant digits and an exponent: one hour and ten
#   microseconds is "1h1e-05s", which Go refuses ("unknown unit"); 1.000001 s is "1s", 12.345678 s is "12.3457s". Its
#   own from_str() refuses the exponent form, too. Below one second it is exact. PyPI goduration gets all of them right.
# Versions: PyPI durationpy 0.11, goduration 0.1.0; judge: time.ParseDuration of Go 1.26.
# What it means: an interval computed in Python (a fraction of a period, a time left until a deadline) makes a manifest
#   that the API server refuses, now and then. Round to whole seconds before writing.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check durationpy==0.11 goduration==0.1.0

cat > write.py <<'PY'
from datetime import timedelta

import durationpy
from goduration import Duration

for delta in (
    timedelta(seconds=90),
    timedelta(hours=1, microseconds=10),
    timedelta(hours=100, minutes=1, microseconds=50),
    timedelta(seconds=1, microseconds=1),
    timedelta(seconds=12.345678),
    timedelta(microseconds=345678),
):
    micros = round(delta / timedelta(microseconds=1))
    text = durationpy.to_str(delta)
    try:
        back = "same" if durationpy.from_str(text) == delta else "differs"
    except durationpy.DurationError:
        back = "refused"
    print(micros, text, f"durationpy-{back}")
    print(micros, Duration.from_timedelta(delta), "goduration")
PY
cat > judge.go <<'GO'
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"
)

// Reads lines of "microseconds text note" and says what Go makes of the text.
func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var micros int64
		var text, note string
		if _, err := fmt.Sscan(lines.Text(), &micros, &text, &note); err != nil {
			panic(err)
		}
		parsed, err := time.ParseDuration(text)
		verdict := "same"
		if err != nil {
			verdict = "refused: " + strings.TrimPrefix(strings.SplitN(err.Error(), " in ", 2)[0], "time: ")
		} else if parsed.Microseconds() != micros {
			verdict = "differs"
		}
		fmt.Printf("%s: %s, Go %s\n", text, note, verdict)
	}
}
GO
go build -o judge judge.go

venv/bin/python write.py | ./judge | tee seen
diff seen - <<'SEEN'
1m30s: durationpy-same, Go same
1m30s: goduration, Go same
1h1e-05s: durationpy-refused, Go refused: unknown unit "e-"
1h0m0.00001s: goduration, Go same
100h1m5e-05s: durationpy-refused, Go refused: unknown unit "e-"
100h1m0.00005s: goduration, Go same
1s: durationpy-differs, Go differs
1.000001s: goduration, Go same
12.3457s: durationpy-differs, Go differs
12.345678s: goduration, Go same
345ms678us: durationpy-same, Go same
345.678ms: goduration, Go same
SEEN
echo "as recorded: the text is not the duration"
