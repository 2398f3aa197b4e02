#!/usr/bin/env bash
# npm parse-sse hands out the event that a broken connection has cut off, and makes two events of one.
#
# Expected: "A lightweight, spec-compliant parser for Server-Sent Events". The HTML standard: at the end of the stream "any
#   pending data must be discarded", if the block has no empty line at its end "the incomplete event is not dispatched";
#   CR LF is one end of line; a block with a `data` line and nothing in it is an event with empty data.
# Seen: at the end of the stream the pending block becomes an event, complete or not. If a chunk ends between CR and LF,
#   which any network may do, the LF counts as an empty line: an event of two data lines becomes two events. An event with
#   empty data is dropped. npm eventsource-parser does all three by the standard.
# Versions: npm parse-sse 0.1.0; judge: npm eventsource-parser 3.1.1.
# What it means: a follower of an agent's stream gets half of a JSON object, or half of a sentence, as the last event of a
#   broken connection. Take an event for complete only if the stream goes on behind it or its content says so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" parse-sse@0.1.0 eventsource-parser@3.1.1
cat > parse.mjs <<'JS'
import { createParser } from 'eventsource-parser';
import { parseServerSentEvents } from 'parse-sse';

const streams = {
  'cut off': ['data: {"step":1}\n\n', 'data: {"step":2,"te'],
  'cut off after a line': ['data: first\n\n', 'data: second, of two lines\n'],
  'chunk between CR and LF': ['data: one\r', '\ndata: two\r\n\r\n'],
  'the same in one chunk': ['data: one\r\ndata: two\r\n\r\n'],
  'empty data': ['event: done\ndata:\n\n'],
};
for (const [name, chunks] of Object.entries(streams)) {
  const expected = [];
  const parser = createParser({ onEvent: ({ data }) => expected.push(data) });
  for (const chunk of chunks) parser.feed(chunk);
  const body = new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
      controller.close();
    },
  });
  const seen = [];
  const response = new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  for await (const { data } of parseServerSentEvents(response)) seen.push(data);
  console.log(`${name}: standard ${JSON.stringify(expected)}, parse-sse ${JSON.stringify(seen)}`);
}
JS
node parse.mjs | tee seen
diff seen - <<'SEEN'
cut off: standard ["{\"step\":1}"], parse-sse ["{\"step\":1}","{\"step\":2,\"te"]
cut off after a line: standard ["first"], parse-sse ["first","second, of two lines"]
chunk between CR and LF: standard ["one\ntwo"], parse-sse ["one","two"]
the same in one chunk: standard ["one\ntwo"], parse-sse ["one\ntwo"]
empty data: standard [""], parse-sse []
SEEN
echo "as recorded: cut off events are handed out"
