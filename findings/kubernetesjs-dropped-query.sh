#!/usr/bin/env bash
# npm kubernetesjs sends query parameters with GET only: a dry run creates, and a delete by label deletes everything.
#
# Expected: "fully-typed" client with "full Kubernetes API coverage"; its types have `query: {dryRun, fieldManager}` for
#   create, `query: {labelSelector, dryRun, propagationPolicy}` for deletes and a `body` for replace and patch, and what
#   they hold reaches the server.
# Seen: the query is put into the URL for GET alone. create with dryRun: 'All' creates; deleteCollection with a
#   labelSelector deletes all of the namespace, also with dryRun; a propagationPolicy is not
#   sent either. PUT and PATCH pass the body in the place of the query: they send no body at
#   all, and PATCH has the content type application/json, which no API server takes.
# Version: npm kubernetesjs 0.7.4.
# What it means: a clean-up of one team's finished agent runs deletes the running ones of all teams, and a "dry run" in CI
#   launches an agent. Use the official client.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" kubernetesjs@0.7.4
cat > requests.mjs <<'JS'
import http from 'node:http';
import kubernetesjs from 'kubernetesjs';

let jobs = {};
const server = http.createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const { searchParams: query } = new URL(request.url, 'http://localhost');
  console.log(`  ${request.method} ${request.url} ${request.headers['content-type'] ?? ''} ${body.length} bytes of body`);
  const dryRun = query.get('dryRun') === 'All';
  if (request.method === 'POST' && !dryRun) jobs[JSON.parse(body).metadata.name] = JSON.parse(body);
  if (request.method === 'DELETE' && !dryRun) {
    const team = query.get('labelSelector')?.split('=')[1];
    jobs = Object.fromEntries(Object.entries(jobs).filter(([, job]) => team && job.metadata.labels.team !== team));
  }
  response.setHeader('content-type', 'application/json');
  response.end('{}');
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const client = new kubernetesjs.KubernetesClient({ restEndpoint: `http://127.0.0.1:${server.address().port}` });
const path = { namespace: 'default' };
const job = (name, team) => ({ apiVersion: 'batch/v1', kind: 'Job', metadata: { name, labels: { team } } });

console.log('create a, dryRun All');
await client.createBatchV1NamespacedJob({ path, query: { dryRun: 'All' }, body: job('a', 'x') });
console.log('  jobs now:', Object.keys(jobs).join(' '));
jobs = { a: job('a', 'x'), b: job('b', 'y'), c: job('c', 'z') };
console.log('delete those of team x, of the jobs', Object.keys(jobs).join(' '));
await client.deleteBatchV1CollectionNamespacedJob({
  path, query: { labelSelector: 'team=x', propagationPolicy: 'Background' },
});
console.log('  jobs now:', Object.keys(jobs).join(' ') || 'none');
console.log('replace and patch a');
await client.replaceBatchV1NamespacedJob({ path: { ...path, name: 'a' }, query: {}, body: job('a', 'y') });
await client.patchBatchV1NamespacedJob({ path: { ...path, name: 'a' }, query: {}, body: { metadata: { labels: null } } });
server.close();
process.exit(0);
JS
node requests.mjs | tee seen
diff seen - <<'SEEN'
create a, dryRun All
  POST /apis/batch/v1/namespaces/default/jobs application/json 84 bytes of body
  jobs now: a
delete those of team x, of the jobs a b c
  DELETE /apis/batch/v1/namespaces/default/jobs  0 bytes of body
  jobs now: none
replace and patch a
  PUT /apis/batch/v1/namespaces/default/jobs/a application/json 0 bytes of body
  PATCH /apis/batch/v1/namespaces/default/jobs/a application/json 0 bytes of body
SEEN
echo "as recorded: no query but for GET, no body for PUT and PATCH"
