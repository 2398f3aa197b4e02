#!/usr/bin/env bash
# @node-idempotency/core: once a key has expired, two requests at the same time both run; a failed run blocks its key.
#
# Expected: it is "race condition free: ensures consistent behavior even during concurrent requests". A key that has
#   expired is a new key: the first request claims it, the second one gets REQUEST_IN_PROGRESS, as with a fresh key. The
#   missing key has an error code of its own, IDEMPOTENCY_KEY_MISSING.
# Seen: with its memory storage the first request after the expiry finds the old entry, so it does not claim; reading it
#   removes it, and onRequest says "new request" without a claim. The second request claims the now free key and runs as
#   well. A handler that fails has no call to give its claim back: the key is REQUEST_IN_PROGRESS for the whole TTL, 24
#   hours by default. A missing key is reported with the code of a key that is too long.
# Versions: npm @node-idempotency/core 1.0.11, @node-idempotency/storage-adapter-memory 1.0.2.
# What it means: two retries of yesterday's launch that arrive together start two agents, and the retry of a launch that
#   failed at once is refused for a day. Make the key's claim in the database of the launches.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" \
  @node-idempotency/core@1.0.11 @node-idempotency/storage-adapter-memory@1.0.2
cat > service.js <<'JS'
const { Idempotency } = require("@node-idempotency/core");
const { MemoryStorageAdapter } = require("@node-idempotency/storage-adapter-memory");

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const request = { method: "POST", path: "/sessions", headers: { "idempotency-key": "k" }, body: { prompt: "p" } };

async function main() {
  const idempotency = new Idempotency(new MemoryStorageAdapter(), { cacheTTLMS: 2000 });
  let runs = 0;
  async function post() {
    let stored;
    try {
      stored = await idempotency.onRequest(request);
    } catch (error) {
      return error.code;
    }
    if (stored) return `replay of ${stored.body}`;
    const session = `session ${++runs}`;
    await sleep(20);
    await idempotency.onResponse(request, { body: session });
    return session;
  }
  const two = async (title) => console.log(`${title}: ${(await Promise.all([post(), post()])).join(" | ")}`);
  await two("fresh key");
  console.log(`repeated: ${await post()}`);
  await sleep(3000);
  await two("expired key");

  const failing = new Idempotency(new MemoryStorageAdapter());
  await failing.onRequest(request); // and the handler throws
  const code = await failing.onRequest(request).catch((error) => error.code);
  const methods = Object.getOwnPropertyNames(Idempotency.prototype).filter((name) => name.startsWith("on"));
  console.log(`after a failed run: ${code}; calls: ${methods.join(", ")}`);

  const enforcing = new Idempotency(new MemoryStorageAdapter(), { enforceIdempotency: true });
  const error = await enforcing.onRequest({ ...request, headers: {} }).catch((error) => error);
  console.log(`without a key: ${error.message} (${error.code})`);
}

main();
JS
node service.js | tee seen
diff seen - <<'SEEN'
fresh key: session 1 | REQUEST_IN_PROGRESS
repeated: replay of session 1
expired key: session 2 | session 3
after a failed run: REQUEST_IN_PROGRESS; calls: onRequest, onResponse
without a key: Idempotency-Key is missing (IDEMPOTENCY_KEY_LEN_EXEEDED)
SEEN
echo "as recorded: an expired key runs twice"
