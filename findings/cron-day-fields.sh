#!/usr/bin/env bash
# "Every Monday" or "every day"? Schedule libraries and the CronJob controller disagree once both day fields are set.
#
# Expected: the crontab rule: if day-of-month and day-of-week are both restricted, either one is enough; if one of
#   them is `*`, only the other counts. Everybody who parses five-field schedules should agree.
# Seen: the CronJob controller (robfig/cron 3.0.1, ParseStandard) decides by a star bit: `*` and also `*/1` count as
#   star, `*/2` and `1-31` do not. So `0 0 */1 * 1` means Mondays, `0 0 1-31 * 1` every day, `0 0 */2 * 1` every odd
#   day *and* every Monday. No library below agrees on all four lines; the Vixie-like cronsim takes `*/2` for a star,
#   croniter, cron-parser and croner take `*/1` for a restriction, and crontab and cron-converter always want both
#   fields ("Friday the 13th").
# Versions: Go github.com/robfig/cron/v3 3.0.1 (what Kubernetes 1.37.2 uses); PyPI croniter 7.0.0, cronsim 2.8,
#   crontab 1.0.5, cron-converter 2.0.2; npm cron-parser 5.10.6, croner 11.0.1, cron 4.4.0, cron-schedule 6.0.0.
# What it means: a preview of "next runs" computed by a library can show 4 launches of a paid agent session a month
#   where the cluster makes 30. Ask the controller's own parser, or keep one of the two day fields `*`.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check croniter==7.0.0 cronsim==2.8 crontab==1.0.5 cron-converter==2.0.2 tzdata
npm install --silent --no-audit --no-fund --prefix "$work" cron-parser@5.10.6 croner@11.0.1 cron@4.4.0 cron-schedule@6.0.0

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
	"os"
	"time"

	"github.com/robfig/cron/v3"
)

func main() {
	for _, line := range os.Args[1:] {
		schedule, err := cron.ParseStandard(line)
		if err != nil {
			panic(err)
		}
		runs, from, until := 0, time.Date(2026, 1, 31, 23, 59, 0, 0, time.UTC), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		for at := schedule.Next(from); at.Before(until); at = schedule.Next(at) {
			runs++
		}
		fmt.Printf("%d ", runs)
	}
	fmt.Println("controller")
}
GO
go mod tidy > /dev/null 2>&1
go build -o ../runs .
cd ..

cat > runs.py <<'PY'
import sys
from datetime import datetime, timedelta, timezone
from croniter import croniter
from cronsim import CronSim
from crontab import CronTab
from cron_converter import Cron

start = datetime(2026, 1, 31, 23, 59, tzinfo=timezone.utc)
end = datetime(2026, 3, 1, tzinfo=timezone.utc)

def with_croniter(line):
    runs = croniter(line, start)
    return iter(lambda: runs.get_next(datetime), None)

def with_cronsim(line):
    return CronSim(line, start)

def with_crontab(line):
    table, at = CronTab(line), start
    while True:
        at = table.next(now=at, default_utc=True, return_datetime=True)
        yield at

def with_cron_converter(line):
    runs = Cron(line).schedule(start)
    while True:
        yield runs.next()

for library in (with_croniter, with_cronsim, with_crontab, with_cron_converter):
    counts = []
    for line in sys.argv[1:]:
        count = 0
        for at in library(line):
            if at >= end:
                break
            count += 1
        counts.append(count)
    print(*counts, library.__name__.removeprefix("with_"))
PY
cat > runs.mjs <<'JS'
import { CronExpressionParser } from 'cron-parser';
import { Cron } from 'croner';
import { CronTime } from 'cron';
import { parseCronExpression } from 'cron-schedule';
process.env.TZ = 'UTC';
const start = new Date('2026-01-31T23:59:00Z');
const end = new Date('2026-03-01T00:00:00Z');
const next = {
  'cron-parser': (line, at) => CronExpressionParser.parse(line, { currentDate: at, tz: 'UTC' }).next().toDate(),
  croner: (line, at) => new Cron(line, { timezone: 'UTC' }).nextRun(at),
  cron: (line, at) => new CronTime(line, 'UTC').getNextDateFrom(at, 'UTC').toJSDate(),
  'cron-schedule': (line, at) => parseCronExpression(line).getNextDate(at),
};
for (const library in next) {
  const counts = process.argv.slice(2).map((line) => {
    let count = 0;
    for (let at = next[library](line, start); at < end; at = next[library](line, at)) count++;
    return count;
  });
  console.log(...counts, library);
}
JS

lines=('0 0 */1 * 1' '0 0 1-31 * 1' '0 0 */2 * 1' '0 0 13 * 5')
echo "runs in February 2026 (28 days, 4 Mondays, the 13th is a Friday) of: ${lines[*]@Q}"
{ ./runs "${lines[@]}"; venv/bin/python runs.py "${lines[@]}"; node runs.mjs "${lines[@]}"; } | tee seen
diff seen - <<'SEEN'
4 28 16 4 controller
28 28 16 4 croniter
4 28 2 4 cronsim
4 4 2 1 crontab
4 4 2 1 cron_converter
28 28 16 4 cron-parser
28 28 16 4 croner
4 4 16 4 cron
4 4 16 4 cron-schedule
SEEN
echo "as recorded: no library agrees with the controller on all lines"
