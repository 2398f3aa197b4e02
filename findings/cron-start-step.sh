#!/usr/bin/env bash
# `5/15` is four runs an hour for Kubernetes and one run an hour for two libraries; `1/2` as weekday gains a Sunday.
#
# Expected: the form START/STEP is an error (POSIX does not have it) or means "from START to the end of the range, every
#   STEP", as robfig/cron documents for its N/STEP.
# Seen: cron-converter and cron-schedule accept `5/15 * * * *` and drop the step without a word: one run an hour
#   instead of four. For `0 0 * * 1/2` the CronJob controller runs on Monday, Wednesday and Friday; cron-parser,
#   cronsim and cron add Sunday, because their week ends at 7, which they then read as 0.
# Versions: Go github.com/robfig/cron/v3 3.0.1 (what Kubernetes 1.37.2 uses); PyPI croniter 7.0.0, cronsim 2.8,
#   cron-converter 2.0.2; npm cron-parser 5.10.6, cron 4.4.0, cron-schedule 6.0.0.
# What it means: a schedule that a dashboard validated and explained can launch four times as many agent sessions in
#   the cluster. Write the range out: `5-59/15`, `1-5/2`.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check croniter==7.0.0 cronsim==2.8 cron-converter==2.0.2
npm install --silent --no-audit --no-fund --prefix "$work" cron-parser@5.10.6 cron@4.4.0 cron-schedule@6.0.0

mkdir controller && cd controller
cat > go.mod <<'MOD'
module controller

go 1.26.0

require github.com/robfig/cron/v3 v3.0.1
MOD
cat > main.go <<'GO'
package main

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
)

// The runs of one hour as minutes, and of one week (from Monday 5 January 2026) as weekdays.
func main() {
	hourly, err := cron.ParseStandard("5/15 * * * *")
	if err != nil {
		panic(err)
	}
	weekly, err := cron.ParseStandard("0 0 * * 1/2")
	if err != nil {
		panic(err)
	}
	start := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).Add(-time.Minute)
	for at := hourly.Next(start); at.Before(start.Add(time.Hour)); at = hourly.Next(at) {
		fmt.Printf("%02d ", at.Minute())
	}
	for at := weekly.Next(start); at.Before(start.AddDate(0, 0, 7)); at = weekly.Next(at) {
		fmt.Printf("%.3s ", at.Weekday())
	}
	fmt.Println("controller")
}
GO
go mod tidy > /dev/null 2>&1
go build -o ../runs .
cd ..

cat > runs.py <<'PY'
from datetime import datetime, timedelta, timezone
from croniter import croniter
from cronsim import CronSim
from cron_converter import Cron

start = datetime(2026, 1, 4, 23, 59, tzinfo=timezone.utc)

def with_croniter(line):
    runs = croniter(line, start)
    while True:
        yield runs.get_next(datetime)

def with_cronsim(line):
    return CronSim(line, start)

def with_cron_converter(line):
    runs = Cron(line).schedule(start)
    while True:
        yield runs.next()

for library in (with_croniter, with_cronsim, with_cron_converter):
    words = []
    for line, span, form in (("5/15 * * * *", timedelta(hours=1), "%M"), ("0 0 * * 1/2", timedelta(days=7), "%a")):
        for at in library(line):
            if at >= start + span:
                break
            words.append(at.strftime(form))
    print(*words, library.__name__.removeprefix("with_"))
PY
cat > runs.mjs <<'JS'
import { CronExpressionParser } from 'cron-parser';
import { CronTime } from 'cron';
import { parseCronExpression } from 'cron-schedule';
const start = new Date('2026-01-04T23:59:00Z');
const next = {
  'cron-parser': (line, at) => CronExpressionParser.parse(line, { currentDate: at, tz: 'UTC' }).next().toDate(),
  cron: (line, at) => new CronTime(line, 'UTC').getNextDateFrom(at, 'UTC').toJSDate(),
  'cron-schedule': (line, at) => parseCronExpression(line).getNextDate(at),
};
for (const library in next) {
  const words = [];
  for (const [line, span, word] of [
    ['5/15 * * * *', 3600e3, (at) => String(at.getUTCMinutes()).padStart(2, '0')],
    ['0 0 * * 1/2', 7 * 24 * 3600e3, (at) => at.toUTCString().slice(0, 3)],
  ]) {
    for (let at = next[library](line, start); at - start < span; at = next[library](line, at)) words.push(word(at));
  }
  console.log(...words, library);
}
JS

{ ./runs; LC_ALL=C venv/bin/python runs.py; TZ=UTC node runs.mjs; } | tee seen
diff seen - <<'SEEN'
05 20 35 50 Mon Wed Fri controller
05 20 35 50 Mon Wed Fri croniter
05 20 35 50 Mon Wed Fri Sun cronsim
05 Mon cron_converter
05 20 35 50 Mon Wed Fri Sun cron-parser
05 20 35 50 Mon Wed Fri Sun cron
05 Mon cron-schedule
SEEN
echo "as recorded: the step is dropped by two libraries, and three add a Sunday"
