#!/usr/bin/env bash
# CloudEvents SDKs: a string or a boolean as JSON data is sent as no JSON, and `false`, `0` and "" arrive as no data.
#
# Expected: with datacontenttype application/json, `data` is any JSON value. In binary mode the body is that value as
#   JSON: the string hello is "hello" with its quotes (CloudEvents HTTP binding 3.1.2). In structured mode the member
#   `data` is the value itself (CloudEvents JSON format 3.1). What goes in comes out, in both modes.
# Seen: the JavaScript and the Python SDK write a string bare in binary mode: `hello`, which no JSON parser takes, and
#   `12`, which is a number for a receiver by the book. For false the Python SDK writes `False`. Reading binary mode,
#   the JavaScript SDK makes strings of the bodies true and 12. Reading structured mode it drops false, 0 and "":
#   such an event has no data. Objects and lists are fine everywhere.
# Versions: npm cloudevents 10.0.0; PyPI cloudevents 2.2.0.
# What it means: an event about an agent session whose data is one value ("failed", merged: false, 0 open comments)
#   changes or loses it on the way. Always wrap the value in an object.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cloudevents==2.2.0
npm install --silent --no-audit --no-fund --prefix "$work" cloudevents@10.0.0

cat > send.mjs <<'JS'
import { CloudEvent, HTTP } from 'cloudevents';
const head = { 'ce-id': '1', 'ce-source': '/agent', 'ce-type': 'ended', 'ce-specversion': '1.0' };
for (const data of [{ a: 1 }, 'hello', '12', true, false]) {
  const event = new CloudEvent({ id: '1', source: '/agent', type: 'ended', datacontenttype: 'application/json', data });
  console.log('javascript binary write', JSON.stringify(data), 'body', String(HTTP.binary(event).body));
}
for (const body of ['{"a":1}', '"hello"', '12', 'true']) {
  const event = HTTP.toEvent({ headers: { ...head, 'content-type': 'application/json' }, body });
  console.log('javascript binary read', body, 'data', JSON.stringify(event.data));
}
for (const data of [{ a: 1 }, true, false, 12, 0, 'hello', '']) {
  const body = JSON.stringify({ id: '1', source: '/agent', type: 'ended', specversion: '1.0', data });
  const event = HTTP.toEvent({ headers: { 'content-type': 'application/cloudevents+json' }, body });
  console.log('javascript structured read', JSON.stringify(data), 'data', JSON.stringify(event.data));
}
JS
cat > send.py <<'PY'
import json

from cloudevents.core.bindings.http import to_binary_event
from cloudevents.core.v1.event import CloudEvent

for data in ({"a": 1}, "hello", "12", True, False):
    event = CloudEvent(
        attributes={"id": "1", "source": "/agent", "type": "ended", "specversion": "1.0",
                    "datacontenttype": "application/json"},
        data=data,
    )
    print("python binary write", json.dumps(data), "body", to_binary_event(event).body.decode())
PY

{ node send.mjs; venv/bin/python send.py; } | tee seen
diff seen - <<'SEEN'
javascript binary write {"a":1} body {"a":1}
javascript binary write "hello" body hello
javascript binary write "12" body 12
javascript binary write true body true
javascript binary write false body false
javascript binary read {"a":1} data {"a":1}
javascript binary read "hello" data "hello"
javascript binary read 12 data "12"
javascript binary read true data "true"
javascript structured read {"a":1} data {"a":1}
javascript structured read true data true
javascript structured read false data undefined
javascript structured read 12 data 12
javascript structured read 0 data undefined
javascript structured read "hello" data "hello"
javascript structured read "" data undefined
python binary write {"a": 1} body {"a": 1}
python binary write "hello" body hello
python binary write "12" body 12
python binary write true body True
python binary write false body False
SEEN
echo "as recorded: single values as JSON data change or vanish"
