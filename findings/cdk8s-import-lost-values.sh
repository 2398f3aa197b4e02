#!/usr/bin/env bash
# Classes made by `cdk8s import` cannot hold a date and drop nulls and unknown members that the CRD allows.
#
# Expected: a class generated from a CRD can express what the CRD accepts. A field of format date-time is typed Date in
#   it; null is a value of a nullable field, and differs from an absent one where the CRD has a default (absent gets the
#   default, null is stored); under x-kubernetes-preserve-unknown-fields any further member is valid.
# Seen: an object with a Date, the only type the class takes, cannot be synthesized at all. A null disappears, so the
#   server writes the default; plain ApiObject drops it, too. Members besides the known ones disappear from an object
#   with preserve-unknown-fields, with no error; plain ApiObject keeps them.
# Versions: npm cdk8s 2.70.106, cdk8s-cli 2.207.60 (constructs 10.8.1).
# What it means: CRDs for agents with a deadline as date-time, with "null means unlimited", or with provider options of
#   free form do not work with cdk8s. Use strings or integers, and a word instead of null.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" cdk8s@2.70.106 constructs@10.8.1 cdk8s-cli@2.207.60 esbuild@0.27.7
cat > crd.yaml <<'YAML'
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: agents.example.com }
spec:
  group: example.com
  names: { kind: Agent, plural: agents, singular: agent, listKind: AgentList }
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties:
                deadline: { type: string, format: date-time }
                repository: { type: string }
                repositoryURL: { type: string }
                port:
                  anyOf: [{ type: integer }, { type: string }]
                  x-kubernetes-int-or-string: true
                budget: { type: integer, nullable: true, default: 5 }
                options:
                  type: object
                  x-kubernetes-preserve-unknown-fields: true
                  properties: { model: { type: string } }
YAML
CI=1 node_modules/.bin/cdk8s import crd.yaml --language typescript --output . > import.log 2>&1
cat > try.ts <<'TS'
import { ApiObject, App, Chart, JsonPatch } from 'cdk8s';
import { Agent } from './example.com';

const chart = new Chart(new App(), 'chart');
function show(title: string, make: (id: string) => ApiObject, ...patches: JsonPatch[]) {
  const agent = make(title);
  agent.addJsonPatch(...patches);
  try {
    console.log(title, JSON.stringify(agent.toJson().spec));
  } catch (error) {
    console.log(title, 'error:', String((error as Error).message).split(': ').at(-1));
  }
}
const typed = (spec: any) => (id: string) => new Agent(chart, id, { spec });
const plain = (spec: any) => (id: string) => new ApiObject(chart, id, { apiVersion: 'example.com/v1', kind: 'Agent', spec });
show('class: date', typed({ deadline: new Date(0) }));
show('class: null', typed({ budget: null, repository: 'a' }));
show('plain: null', plain({ budget: null, repository: 'a' }));
show('class: free form', typed({ options: { model: 'a', effort: 'high' } }));
show('plain: free form', plain({ options: { model: 'a', effort: 'high' } }));
TS
node_modules/.bin/esbuild try.ts --bundle --platform=node --external:cdk8s --outfile=try.cjs --log-level=error
node try.cjs 2>&1 | tee seen
diff seen - <<'SEEN'
class: date error: can't render non-simple object of type 'Date'
class: null {"repository":"a"}
plain: null {"repository":"a"}
class: free form {"options":{"model":"a"}}
plain: free form {"options":{"effort":"high","model":"a"}}
SEEN
echo "as recorded: a date, a null and a free member do not get through"
