#!/usr/bin/env bash
# CloudEvents SDKs give a received event that has no `time` the moment of its parsing, new at every delivery.
#
# Expected: `time` is optional (CloudEvents 1.0.2, "time": "Timestamp of when the occurrence happened"). A producer that
#   does not know it leaves it out, and a receiver sees that it is absent. Parsing the same message twice gives equal
#   events.
# Seen: the JavaScript and the Python SDK set `time` to the clock of the receiver, in binary and in structured mode.
#   Nothing tells it from a time that was sent; forwarded, it is sent on as the time of the occurrence. Two parses of
#   one message, a moment apart, differ. The older `cloudevents.v1` module of the Python package does the same. The
#   JavaScript SDK also rewrites a given time into UTC with three digits; the nine digits of Go producers are cut.
# Versions: npm cloudevents 10.0.0; PyPI cloudevents 2.2.0.
# What it means: a receiver that orders the events of an agent session by `time`, or takes id, source and time as the
#   key against double delivery, sees a repeated delivery as a newer event. Deduplicate by source and id alone, and
#   look for ce-time or the member `time` in the raw message.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cloudevents==2.2.0
npm install --silent --no-audit --no-fund --prefix "$work" cloudevents@10.0.0

cat > receive.mjs <<'JS'
import { HTTP } from 'cloudevents';
const binary = { headers: { 'ce-id': '1', 'ce-source': '/agent', 'ce-type': 'ended', 'ce-specversion': '1.0' }, body: '' };
const structured = {
  headers: { 'content-type': 'application/cloudevents+json' },
  body: JSON.stringify({ id: '1', source: '/agent', type: 'ended', specversion: '1.0' }),
};
for (const [mode, message] of Object.entries({ binary, structured })) {
  const first = HTTP.toEvent(message);
  while (Date.now() <= Date.parse(first.time)) await new Promise((done) => setTimeout(done, 5));
  const second = HTTP.toEvent(message);
  console.log('javascript', mode, first.time ? 'has a time' : 'no time', first.time === second.time ? 'same' : 'differs');
  console.log('javascript', mode, 'forwarded with', 'ce-time' in HTTP.binary(first).headers ? 'a time' : 'no time');
}
binary.headers['ce-time'] = '2026-01-02T03:04:05.123456789+02:00';
console.log('javascript given', HTTP.toEvent(binary).toJSON().time);
JS
cat > receive.py <<'PY'
import json
import time

from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event
from cloudevents.v1.http import from_http

attributes = {"id": "1", "source": "/agent", "type": "ended", "specversion": "1.0"}
headers = {f"ce-{name}": value for name, value in attributes.items()}
messages = {
    "binary": HTTPMessage(headers=headers, body=b""),
    "structured": HTTPMessage(
        headers={"content-type": "application/cloudevents+json"}, body=json.dumps(attributes).encode()
    ),
}
for mode, message in messages.items():
    first = from_http_event(message)
    time.sleep(0.01)
    second = from_http_event(message)
    has = "has a time" if first.get_time() else "no time"
    print("python", mode, has, "same" if first.get_time() == second.get_time() else "differs")
    print("python", mode, "forwarded with", "a time" if "ce-time" in to_binary_event(first).headers else "no time")
print("python v1 module", "has a time" if from_http(headers, b"")["time"] else "no time")
PY

{ node receive.mjs; venv/bin/python receive.py; } | tee seen
diff seen - <<'SEEN'
javascript binary has a time differs
javascript binary forwarded with a time
javascript structured has a time differs
javascript structured forwarded with a time
javascript given 2026-01-02T01:04:05.123Z
python binary has a time differs
python binary forwarded with a time
python structured has a time differs
python structured forwarded with a time
python v1 module has a time
SEEN
echo "as recorded: an absent time becomes the receiver's clock"
