#!/usr/bin/env bash
# A Node.js parser of the Prometheus text format merges all series of a histogram that has labels.
#
# Expected: "The output aims to be compatible with that of prom2json" (its README), which gives one entry per set of
#   labels, each with its buckets, its sum and its count.
# Seen: parse-prometheus-text-format gives one entry for the whole family: the labels are gone, sum and count are gone,
#   and a later series overwrites the buckets of an earlier one. Without labels the answer is right; gauges and
#   counters are right. Nothing is thrown. Summaries with labels lose the same.
# Versions: npm parse-prometheus-text-format 1.1.1; judge: PyPI prometheus_client 0.23.1.
# What it means: nearly every histogram of an operator or of the API server has labels (verb, provider, result). A
#   dashboard that shows launch latency through this parser shows the last series of the page under the name of all.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check prometheus_client==0.23.1
npm install --silent --no-audit --no-fund --prefix "$work" parse-prometheus-text-format@1.1.1

cat > metrics <<'TEXT'
# HELP launch_seconds Time to launch.
# TYPE launch_seconds histogram
launch_seconds_bucket{provider="a",le="1"} 5
launch_seconds_bucket{provider="a",le="+Inf"} 6
launch_seconds_sum{provider="a"} 3
launch_seconds_count{provider="a"} 6
launch_seconds_bucket{provider="b",le="1"} 0
launch_seconds_bucket{provider="b",le="+Inf"} 9
launch_seconds_sum{provider="b"} 90
launch_seconds_count{provider="b"} 9
# HELP wait_seconds Time in the queue.
# TYPE wait_seconds summary
wait_seconds{provider="a",quantile="0.5"} 1
wait_seconds_sum{provider="a"} 2
wait_seconds_count{provider="a"} 2
wait_seconds{provider="b",quantile="0.5"} 8
wait_seconds_sum{provider="b"} 8
wait_seconds_count{provider="b"} 1
TEXT
venv/bin/python - <<'PY'
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(open("metrics").read()):
    print("judge", family.name, "providers:", sorted({sample.labels["provider"] for sample in family.samples}))
PY
node --input-type=module -e '
import { readFileSync } from "node:fs";
import parse from "parse-prometheus-text-format";
for (const family of parse(readFileSync("metrics", "utf8"))) console.log(family.name, JSON.stringify(family.metrics));
' | tee seen
diff seen - <<'SEEN'
launch_seconds [{"buckets":{"1":"0","+Inf":"9"}}]
wait_seconds [{"quantiles":{"0.5":"8"}}]
SEEN
echo "as recorded: one series without labels, sum and count is left"
