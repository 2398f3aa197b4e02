#!/usr/bin/env bash
# npm @dot-i/k8s-operator: adding or removing its finalizer removes other controllers' finalizers, and a failed write counts as done.
#
# Expected: handleResourceFinalizer() adds and removes *its* finalizer, as controller-runtime does: guarded by the
#   resourceVersion it has read, so that a change in between is a conflict and nothing is lost. It returns "true if no
#   further action is needed"; when the finalizer could not be written, it throws or returns something else.
# Seen: it sends a merge patch with the whole list as of the event and without resourceVersion. A finalizer that another
#   controller set meanwhile is gone, here while the delete action ran. If the API server answers 500, the error goes to
#   the log and the result is `true`, so the caller, following the README, leaves the object alone, and nothing tries again.
# Versions: npm @dot-i/k8s-operator 1.3.9.
# What it means: an agent session's object can vanish before the other controller has stopped what it started; and a
#   session that was created in a bad second is never started, until something else changes the object. Use your own
#   patch with a resourceVersion, and throw on failure.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" @dot-i/k8s-operator@1.3.9

cat > operator.mjs <<'JS'
import http from 'node:http';
import { writeFileSync } from 'node:fs';

let stored, status, emit;
const server = http.createServer(async (request, response) => {
  if (request.method === 'GET') {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    emit = (type) => response.write(JSON.stringify({ type, object: stored }) + '\n');
    ready();
    return;
  }
  let body = '';
  for await (const piece of request) body += piece;
  const { metadata } = JSON.parse(body);
  if (status === 200) stored.metadata.finalizers = metadata.finalizers;
  console.log(`patch of ${Object.keys(metadata)}: ${status}`);
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(status === 200 ? stored : { kind: 'Status', code: status, message: 'etcd is busy' }));
});
let ready;
const watching = new Promise((resolve) => (ready = resolve));
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
writeFileSync('kubeconfig', JSON.stringify({
  apiVersion: 'v1', kind: 'Config', 'current-context': 'c',
  clusters: [{ name: 'c', cluster: { server: `http://127.0.0.1:${server.address().port}` } }],
  contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }], users: [{ name: 'u', user: { token: 't' } }],
}));
process.env.KUBECONFIG = 'kubeconfig';
const { default: Operator } = await import('@dot-i/k8s-operator');

let handled;
class Sessions extends (Operator.default ?? Operator) {
  async init() {
    await this.watchResource('example.dev', 'v1', 'sessions', async (event) => {
      const result = await this.handleResourceFinalizer(event, 'ours.example.dev/stop', async () => {
        stored.metadata.finalizers.push('theirs.example.dev/later'); // the other controller, meanwhile
      });
      handled(result);
    });
  }
}
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const sessions = new Sessions(silent);
await sessions.start();
await watching;
const happens = async (title, type, metadata, answer) => {
  stored = { apiVersion: 'example.dev/v1', kind: 'Session', metadata: { name: 'a', namespace: 'default', resourceVersion: '7', ...metadata } };
  status = answer;
  const result = new Promise((resolve) => (handled = resolve));
  emit(type);
  console.log(`${title}: returned ${await result}, finalizers ${JSON.stringify(stored.metadata.finalizers ?? [])}`);
};
await happens('created, the write fails', 'ADDED', {}, 500);
await happens('deleted, another finalizer is set during the delete action', 'MODIFIED',
  { deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['ours.example.dev/stop'] }, 200);
process.exit(0);
JS
timeout 120 node operator.mjs | tee seen
diff seen - <<'SEEN'
patch of finalizers: 500
created, the write fails: returned true, finalizers []
patch of finalizers: 200
deleted, another finalizer is set during the delete action: returned true, finalizers []
SEEN
echo "as recorded: the other finalizer is lost, and a failed write is handled"
