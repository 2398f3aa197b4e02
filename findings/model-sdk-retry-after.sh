#!/usr/bin/env bash
# A model SDK's call with `timeout` 10 s lasts an hour if the API answers "Retry-After: 3600"; one of four gives up at once.
#
# Expected: "Certain errors are automatically retried 2 times by default, with a short exponential backoff" (README of
#   openai), and the four official SDKs, which share their retry code by origin, behave alike: either a long Retry-After
#   is given back as an error, or the call's `timeout` bounds the wait.
# Seen: openai for Python gives a Retry-After of more than two minutes back as RateLimitError after one request. openai
#   for Node.js and anthropic for Python and Node.js wait for it inside the call, at every retry; `timeout` is counted
#   for each request anew and does not bound the wait. A minute's Retry-After is waited for by all.
# Versions: PyPI openai 3.57.0, anthropic 2.14.0; npm openai 6.49.0, @anthropic-ai/sdk 1.14.0.
# What it means: an agent's worker or a controller that trusts in `timeout` stands still for an hour (a spent daily limit
#   answers so), while its Job's deadline runs. Set max_retries to 0 and obey Retry-After in the queue, or put a deadline
#   around the call.
# The waits are recorded, not slept.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openai==3.57.0 anthropic==2.14.0
npm install --silent --no-audit --no-fund --prefix "$work" openai@6.49.0 @anthropic-ai/sdk@1.14.0

cat > calls.py <<'PY'
import http.server
import threading
import time

import anthropic
import openai

retry_after, requests, waits = "", 0, []


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_): pass

    def do_POST(self):
        global requests
        requests += 1
        self.rfile.read(int(self.headers["content-length"]))
        answer = b'{"error": {"type": "rate_limit_error", "message": "limit"}}'
        self.send_response(429)
        self.send_header("retry-after", retry_after)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
options = {"api_key": "key", "base_url": url, "max_retries": 1, "timeout": 10}
calls = {
    "openai": lambda: openai.OpenAI(**options).responses.create(model="m", input="x"),
    "anthropic": lambda: anthropic.Anthropic(**options).messages.create(
        model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}]),
}
time.sleep = waits.append
for retry_after in ("60", "3600"):
    for name, call in calls.items():
        requests = 0
        waits.clear()
        try:
            call()
        except (openai.RateLimitError, anthropic.RateLimitError):
            print(f"Retry-After {retry_after}: Python {name}: {requests} requests, waits {[round(wait) for wait in waits]} s")
PY
cat > calls.mjs <<'JS'
import Anthropic from '@anthropic-ai/sdk';
import http from 'node:http';
import OpenAI from 'openai';

let retryAfter, requests, waits;
const server = http.createServer((request, response) => {
  requests += 1;
  request.resume();
  response.writeHead(429, { 'retry-after': retryAfter, 'content-type': 'application/json' });
  response.end('{"error": {"type": "rate_limit_error", "message": "limit"}}');
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const options = { apiKey: 'key', baseURL: `http://127.0.0.1:${server.address().port}`, maxRetries: 1, timeout: 10_000 };
const calls = {
  openai: () => new OpenAI(options).responses.create({ model: 'm', input: 'x' }),
  anthropic: () => new Anthropic(options).messages.create({
    model: 'm', max_tokens: 1, messages: [{ role: 'user', content: 'x' }],
  }),
};
const timer = setTimeout;
globalThis.setTimeout = (callback, delay, ...rest) => {
  if (delay < 30_000) return timer(callback, delay, ...rest); // the HTTP client's own timers
  waits.push(Math.round(delay / 1000));
  return timer(callback, 0, ...rest);
};
for (retryAfter of ['60', '3600']) {
  for (const [name, call] of Object.entries(calls)) {
    [requests, waits] = [0, []];
    const error = await call().catch((error) => error);
    if (error.status === 429) console.log(`Retry-After ${retryAfter}: Node.js ${name}: ${requests} requests, waits [${waits}] s`);
  }
}
process.exit(0);
JS
{ venv/bin/python calls.py; node calls.mjs; } | tee seen
diff seen - <<'SEEN'
Retry-After 60: Python openai: 2 requests, waits [60] s
Retry-After 60: Python anthropic: 2 requests, waits [60] s
Retry-After 3600: Python openai: 1 requests, waits [] s
Retry-After 3600: Python anthropic: 2 requests, waits [3600] s
Retry-After 60: Node.js openai: 2 requests, waits [60] s
Retry-After 60: Node.js anthropic: 2 requests, waits [60] s
Retry-After 3600: Node.js openai: 2 requests, waits [3600] s
Retry-After 3600: Node.js anthropic: 2 requests, waits [3600] s
SEEN
echo "as recorded: three of four wait an hour in spite of a timeout of 10 s"
