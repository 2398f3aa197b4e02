#!/usr/bin/env bash
# Crossplane's TypeScript SDK merges lists as sets: `--env A --env B` becomes `--env A B`, also in resources left alone.
#
# Expected: the SDK says that its setters "deep merge to combine new resources with any existing resources" and preserve
#   those of earlier functions in the pipeline; a function that follows the README (take the desired resources, add one,
#   set them) changes only the one. A list is replaced, as in the Python SDK, in a JSON merge patch and in this SDK's own
#   updateResource, or merged by its key, as in server-side apply.
# Seen: the merge joins two lists and removes what is there twice, by identity.
#   1. README's flow: the resources are merged with themselves; a list of strings or numbers of *another* function's
#      resource loses every repeated entry: ["--env", "A=1", "--env", "B=2"] becomes ["--env", "A=1", "B=2"].
#   2. setDesiredResources with an equal resource: its lists of objects have everything twice (two repositories, two
#      containers of the same name).
#   3. setDesiredCompositeStatus: an entry can never be removed, and [0, 0, 1] over [0, 0] becomes [0, 1].
# Version: npm @crossplane-org/function-sdk-typescript 0.7.0.
# What it means: a pipeline that composes agents' sessions or Jobs breaks their command lines in a step that has nothing
#   to do with them, and starts a session with each repository twice. Assign rsp.desired.resources[name] directly.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" @crossplane-org/function-sdk-typescript@0.7.0
cat > compose.mjs <<'JS'
import {
  RunFunctionRequest, Resource, getDesiredComposedResources, setDesiredComposedResources, setDesiredCompositeStatus,
  setDesiredResources, to,
} from '@crossplane-org/function-sdk-typescript';

const session = {
  apiVersion: 'example.dev/v1', kind: 'Session', metadata: { name: 'a' },
  spec: { args: ['--env', 'A=1', '--env', 'B=2'], repositories: [{ url: 'first' }] },
};
const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' } };
// What an earlier function of the pipeline desires, over the wire.
const request = () => RunFunctionRequest.decode(RunFunctionRequest.encode(RunFunctionRequest.fromJSON({
  desired: {
    composite: { resource: { status: { exitCodes: [0, 0], open: ['one'] } } },
    resources: { session: { resource: session } },
  },
})).finish());
const spec = (response) => JSON.stringify(response.desired.resources.session.resource.spec);

console.log('before             ', JSON.stringify(session.spec));
const first = request();
const desired = getDesiredComposedResources(first);
desired.other = Resource.fromJSON({ resource: configMap });
console.log('another one added  ', spec(setDesiredComposedResources(to(first), desired)));
console.log('set to the same    ', spec(setDesiredResources(to(request()), { session })));
const rsp = setDesiredCompositeStatus({ rsp: to(request()), status: { exitCodes: [0, 0, 1], open: ['two'] } });
console.log('status set to       {"exitCodes":[0,0,1],"open":["two"]}');
console.log('status             ', JSON.stringify(rsp.desired.composite.resource.status));
JS
node compose.mjs | tee seen
diff seen - <<'SEEN'
before              {"args":["--env","A=1","--env","B=2"],"repositories":[{"url":"first"}]}
another one added   {"args":["--env","A=1","B=2"],"repositories":[{"url":"first"}]}
set to the same     {"args":["--env","A=1","B=2"],"repositories":[{"url":"first"},{"url":"first"}]}
status set to       {"exitCodes":[0,0,1],"open":["two"]}
status              {"exitCodes":[0,1],"open":["one","two"]}
SEEN
echo "as recorded: lists are joined and repeated entries removed"
