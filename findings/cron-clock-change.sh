#!/usr/bin/env bash
# A CronJob with a time zone runs twice on the autumn Sunday and not at all on the spring one.
#
# Expected: Vixie cron's promise, kept by most schedule libraries: a job at 02:30 local time runs once a day, also when
#   the clock skips 02:30 (it then runs just before or after the gap) or shows it twice (it then runs the first time).
# Seen: the CronJob controller (robfig/cron 3.0.1) takes the wall clock literally. With timeZone Europe/Berlin,
#   `30 2 * * *` has no run on 29 March 2026 and two runs, one hour apart, on 25 October 2026. croniter alone agrees
#   on the autumn day, nobody agrees on the spring day. For `0 * * * *` the controller runs in every hour that exists,
#   while crontab, cron-converter and cronosjs lose one in autumn, and the first two list one too many in spring.
# Versions: Go github.com/robfig/cron/v3 3.0.1 (what Kubernetes 1.37.2 uses); PyPI croniter 7.0.0, cronsim 2.8,
#   crontab 1.0.5, cron-converter 2.0.2; npm cron-parser 5.10.6, croner 11.0.1, cron 4.4.0, cronosjs 1.7.1.
# What it means: a nightly agent session that a CronJob creates is paid twice once a year if its name is not made from
#   the *local date*, and a "did last night's run happen?" alert computed by a library rings in spring for nothing.
#   Keep such schedules out of 01:00–03:00 local time, or leave timeZone at UTC.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check croniter==7.0.0 cronsim==2.8 crontab==1.0.5 cron-converter==2.0.2 tzdata==2025.2
npm install --silent --no-audit --no-fund --prefix "$work" cron-parser@5.10.6 croner@11.0.1 cron@4.4.0 cronosjs@1.7.1

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
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

func main() {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	for args := os.Args[1:]; len(args) > 0; args = args[2:] {
		schedule, err := cron.ParseStandard(args[0])
		if err != nil {
			panic(err)
		}
		at, err := time.ParseInLocation("2006-01-02 15:04", args[1]+" 00:00", zone)
		if err != nil {
			panic(err)
		}
		runs, until := 0, at.AddDate(0, 0, 1)
		for at = schedule.Next(at.Add(-time.Minute)); at.Before(until); at = schedule.Next(at) {
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
from zoneinfo import ZoneInfo
from croniter import croniter
from cronsim import CronSim
from crontab import CronTab
from cron_converter import Cron

zone = ZoneInfo("Europe/Berlin")

def with_croniter(line, start):
    runs = croniter(line, start)
    while True:
        yield runs.get_next(datetime)

def with_cronsim(line, start):
    return CronSim(line, start)

def with_crontab(line, start):
    table = CronTab(line)
    while True:
        start = table.next(now=start, default_utc=False, return_datetime=True)
        yield start

def with_cron_converter(line, start):
    runs = Cron(line).schedule(start)
    while True:
        yield runs.next()

for library in (with_croniter, with_cronsim, with_crontab, with_cron_converter):
    counts = []
    for line, day in zip(sys.argv[1::2], sys.argv[2::2]):
        midnight = datetime.fromisoformat(day).replace(tzinfo=zone)
        end = (midnight + timedelta(days=1)).astimezone(timezone.utc)
        count = 0
        for at in library(line, midnight - timedelta(minutes=1)):
            if at.astimezone(timezone.utc) >= end:
                break
            count += 1
        counts.append(count)
    print(*counts, library.__name__.removeprefix("with_"))
PY
cat > runs.mjs <<'JS'
import { CronExpressionParser } from 'cron-parser';
import { Cron } from 'croner';
import { CronTime } from 'cron';
import { CronosExpression } from 'cronosjs';
const zone = 'Europe/Berlin';
// First and last instant of the local day: summer time begins and ends at 01:00 UTC.
const days = {
  '2026-03-29': ['2026-03-28T22:59:00Z', '2026-03-29T22:00:00Z'],
  '2026-10-25': ['2026-10-24T21:59:00Z', '2026-10-25T23:00:00Z'],
};
const next = {
  'cron-parser': (line, at) => CronExpressionParser.parse(line, { currentDate: at, tz: zone }).next().toDate(),
  croner: (line, at) => new Cron(line, { timezone: zone }).nextRun(at),
  cron: (line, at) => new CronTime(line, zone).getNextDateFrom(at, zone).toJSDate(),
  cronosjs: (line, at) => CronosExpression.parse(line, { timezone: zone }).nextDate(at),
};
const args = process.argv.slice(2);
for (const library in next) {
  const counts = [];
  for (let i = 0; i < args.length; i += 2) {
    const [start, end] = days[args[i + 1]].map((text) => new Date(text));
    let count = 0;
    for (let at = next[library](args[i], start); at < end; at = next[library](args[i], at)) count++;
    counts.push(count);
  }
  console.log(...counts, library);
}
JS

pairs=('30 2 * * *' 2026-03-29 '30 2 * * *' 2026-10-25 '0 * * * *' 2026-03-29 '0 * * * *' 2026-10-25)
echo "runs on that local day in Europe/Berlin (23 hours in March, 25 in October): ${pairs[*]@Q}"
{ ./runs "${pairs[@]}"; venv/bin/python runs.py "${pairs[@]}"; TZ=UTC node runs.mjs "${pairs[@]}"; } | tee seen
diff seen - <<'SEEN'
0 2 23 25 controller
1 2 23 25 croniter
1 1 23 25 cronsim
1 1 24 24 crontab
1 1 24 24 cron_converter
1 1 23 25 cron-parser
1 1 23 25 croner
1 1 23 25 cron
1 1 23 24 cronosjs
SEEN
echo "as recorded: zero and two runs in the controller, one in nearly all libraries"
