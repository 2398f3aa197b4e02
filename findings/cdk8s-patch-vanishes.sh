#!/usr/bin/env bash
# cdk8s: a JSON patch on a class made by `cdk8s import` vanishes, unless it uses names that the API does not know.
#
# Expected: addJsonPatch() is the documented escape hatch: it patches "the synthesized manifest", so paths are those of
#   the API, and a field that the class does not know yet can be added. On a plain ApiObject that is so.
# Seen: on a generated class the patch runs before the properties are renamed for the API, and whatever the class does
#   not know is dropped behind it, with no error: adding /spec/repositoryURL or an unknown field does nothing, replacing
#   /spec/repositoryURL leaves the old value, only /spec/repositoryUrl (a name of the class alone) works. A patch of an
#   int-or-string field to a plain number deletes the field.
# Versions: npm cdk8s 2.70.106, cdk8s-cli 2.207.60 (constructs 10.8.1).
# What it means: an override for one environment (other repository, other limits of an agent session) is written,
#   reviewed and not there. Patch a plain ApiObject, and compare the synthesized YAML.
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
show('plain: add', plain({}), JsonPatch.add('/spec/repositoryURL', 'new'));
show('plain: add a new field', plain({}), JsonPatch.add('/spec/later', 1));
show('class: add', typed({}), JsonPatch.add('/spec/repositoryURL', 'new'));
show('class: replace', typed({ repositoryUrl: 'old' }), JsonPatch.replace('/spec/repositoryURL', 'new'));
show('class: replace by the name of the class', typed({ repositoryUrl: 'old' }), JsonPatch.replace('/spec/repositoryUrl', 'new'));
show('class: add a new field', typed({}), JsonPatch.add('/spec/later', 1));
show('class: port', typed({ port: { value: 80 } }), JsonPatch.replace('/spec/port', 8080));
show('class: repository', typed({ repository: 'old' }), JsonPatch.replace('/spec/repository', 'new'));
TS
node_modules/.bin/esbuild try.ts --bundle --platform=node --external:cdk8s --outfile=try.cjs --log-level=error
node try.cjs 2>&1 | tee seen
diff seen - <<'SEEN'
plain: add {"repositoryURL":"new"}
plain: add a new field {"later":1}
class: add {}
class: replace {"repositoryURL":"old"}
class: replace by the name of the class {"repositoryURL":"new"}
class: add a new field {}
class: port {}
class: repository {"repository":"new"}
SEEN
echo "as recorded: patches by the API's names vanish"
