#!/usr/bin/env bash
# kubernetes-fluent-client hands over watch events out of order when the callback takes time.
#
# Expected: a watch is an ordered stream; for one object MODIFIED comes before DELETED. The library awaits an async
#   callback, so the next event should wait, or at least start, in order.
# Seen: each network chunk is worked through by a loop of its own. While the first event of one chunk is awaited, the
#   events of the next chunk are delivered, and only then the rest of the first chunk. A callback saw ADDED, DELETED,
#   MODIFIED of one object. (By its code the library's own cache is filled in the same order, so it then holds a deleted
#   object until the next re-list.)
# Version: npm kubernetes-fluent-client 3.11.6 (the client of the Pepr operator framework).
# What it means: "the session was cancelled, clean up" followed by "the session runs" starts the work again. Compare
#   resourceVersion (or a deletion you have seen) in the callback; do not trust the order.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" kubernetes-fluent-client@3.11.6 @kubernetes/client-node@1.4.0

cat > watch.mjs <<'JS'
import http from 'node:http';
import { writeFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

const map = (name, uid, resourceVersion) =>
  ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, uid, namespace: 'default', resourceVersion } });
const line = (type, object) => JSON.stringify({ type, object }) + '\n';
const server = http.createServer(async (request, response) => {
  response.setHeader('content-type', 'application/json');
  if (!request.url.includes('watch=')) {
    response.end(JSON.stringify({ kind: 'ConfigMapList', apiVersion: 'v1', metadata: { resourceVersion: '1' }, items: [] }));
    return;
  }
  response.flushHeaders();
  await wait(200);
  response.write(line('ADDED', map('a', 'u1', '2')) + line('MODIFIED', map('a', 'u1', '3'))); // one chunk
  await wait(200);
  response.write(line('DELETED', map('a', 'u1', '4')));
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
writeFileSync('kubeconfig', JSON.stringify({
  apiVersion: 'v1', kind: 'Config', 'current-context': 'c', contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
  clusters: [{ name: 'c', cluster: { server: `http://127.0.0.1:${server.address().port}`, 'insecure-skip-tls-verify': true } }],
  users: [{ name: 'u', user: {} }],
}));
process.env.KUBECONFIG = 'kubeconfig';

const { K8s, kind } = await import('kubernetes-fluent-client');
const seen = [];
const watcher = K8s(kind.ConfigMap).Watch(async (object, phase) => {
  seen.push(`${phase}@${object.metadata.resourceVersion}`);
  await wait(600); // a callback that makes a request
});
await watcher.start();
await wait(3000);
console.log(...seen);
process.exit();
JS
node watch.mjs | tee seen
diff seen - <<'SEEN'
ADDED@2 DELETED@4 MODIFIED@3
SEEN
echo "as recorded: a deletion overtakes the change before it"
