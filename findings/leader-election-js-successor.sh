#!/usr/bin/env bash
# A Node.js leader election library never elects a successor once three tries have gone by.
#
# Expected: the README: after lease_duration_sec the lease "is considered expired and the election process will start
#   again". As in client-go, a waiting candidate takes a lease that was released or has run out.
# Seen: a candidate tries three times, half a lease apart, and then only when the Lease is *deleted*. The leader's
#   stop() does not delete it, it clears holderIdentity, and a candidate that waits ignores that change. Nobody leads
#   any more, until a new process starts. The Lease that the library creates also has no leaseDurationSeconds: the field
#   is misspelt and the client drops it.
# Version: npm @codedependant/kubernetes-leader-election 1.0.1 (with @kubernetes/client-node 1.4.0).
# What it means: with two replicas a rolling update works by luck (the new Pod tries at its start). When the leader of two
#   older Pods steps down, the queue of agent sessions has no worker any more, and the other Pod looks ready.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" @codedependant/kubernetes-leader-election@1.0.1 @kubernetes/client-node@1.4.0

cat > elect.mjs <<'JS'
import http from 'node:http';
import { writeFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

// An API server with one Lease: read, create, replace with a resourceVersion, watch.
let lease, version = 0;
const watches = new Set();
const server = http.createServer(async (request, response) => {
  response.setHeader('content-type', 'application/json');
  if (request.url.includes('watch=')) {
    watches.add(response.on('close', () => watches.delete(response)));
    response.flushHeaders();
    if (lease) response.write(JSON.stringify({ type: 'ADDED', object: lease }) + '\n');
    return;
  }
  let text = '';
  for await (const chunk of request) text += chunk;
  const refuse = (code) => { response.statusCode = code; response.end(JSON.stringify({ kind: 'Status', code })); };
  if (request.method === 'GET') return lease ? response.end(JSON.stringify(lease)) : refuse(404);
  const wanted = JSON.parse(text);
  if (request.method === 'POST' ? lease : wanted.metadata.resourceVersion !== lease.metadata.resourceVersion) return refuse(409);
  const type = lease ? 'MODIFIED' : 'ADDED';
  lease = { ...wanted, metadata: { ...wanted.metadata, resourceVersion: String(++version) } };
  for (const watch of watches) watch.write(JSON.stringify({ type, object: lease }) + '\n');
  response.end(JSON.stringify(lease));
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
writeFileSync('kubeconfig', JSON.stringify({
  apiVersion: 'v1', kind: 'Config', 'current-context': 'c', contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
  clusters: [{ name: 'c', cluster: { server: `http://127.0.0.1:${server.address().port}`, 'insecure-skip-tls-verify': true } }],
  users: [{ name: 'u', user: {} }],
}));
process.env.KUBECONFIG = 'kubeconfig';
process.env.KUBERNETES_SERVICE_HOST = '127.0.0.1'; // without it every process believes to be the leader

const { default: module } = await import('@codedependant/kubernetes-leader-election');
const Elector = module.Elector ?? module;
const candidate = (identity) =>
  new Elector({ identity, lease_name: 'lock', lease_duration_sec: 4, renew_interval_ms: 1000, auto_close: false });
const first = candidate('first'), second = candidate('second');
await first.start();
await wait(500);
await second.start();
await wait(10000);
console.log('first leads:', first.current_leader, '- second leads:', second.current_leader);
console.log('leaseDurationSeconds:', lease.spec.leaseDurationSeconds);
await first.stop();
await wait(16000); // four times the lease
console.log('after the release: holder', lease.spec.holderIdentity, '- second leads:', second.current_leader);
const third = candidate('third');
await third.start();
await wait(10000);
console.log('a new process: third leads:', third.current_leader);
process.exit();
JS
node elect.mjs | tee seen
diff seen - <<'SEEN'
first leads: true - second leads: false
leaseDurationSeconds: undefined
after the release: holder null - second leads: false
a new process: third leads: true
SEEN
echo "as recorded: the waiting candidate never takes over"
