#!/usr/bin/env bash
# The official JavaScript client cannot read what `helm template` prints, kr8s cannot read what `kubectl get` prints.
#
# Expected: a function that loads "all" objects of a manifest reads the two streams that everybody pipes: Helm's, where a
#   template that is switched off leaves a document with nothing but a "# Source:" comment, and that of
#   `kubectl get -o yaml`, where several objects come as one `kind: List`. kubectl applies both.
# Seen: loadAllYaml of @kubernetes/client-node throws "Cannot read properties of null" at the empty document (also at a
#   separator at the very end), and gives the List back as one object. kr8s skips empty documents, but makes one
#   object of kind List without a name. hikaru fails at both. lightkube reads both.
# Versions: npm @kubernetes/client-node 1.4.0, @kosko/yaml 1.0.2; PyPI kr8s 0.20.15, lightkube 1.0.1, hikaru 1.3.0.
# What it means: a tool that submits agent sessions from files works with hand-written ones and fails with rendered
#   ones. Filter empty documents and unfold lists before.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kr8s==0.20.15 lightkube==1.0.1
python3 -m venv old
old/bin/pip install --quiet --disable-pip-version-check hikaru==1.3.0
npm install --silent --no-audit --no-fund --prefix "$work" @kubernetes/client-node@1.4.0 @kosko/yaml@1.0.2

cat > helm.yaml <<'YAML'
---
# Source: chart/templates/on.yaml
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
---
# Source: chart/templates/off.yaml
---
# Source: chart/templates/other.yaml
apiVersion: v1
kind: ConfigMap
metadata: {name: b}
YAML
cat > list.yaml <<'YAML'
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}
YAML

cat > load.py <<'PY'
import sys, warnings
warnings.simplefilter("ignore")
library, *files = sys.argv[1:]

def kr8s(file):
    from kr8s.objects import objects_from_files
    return [f"{item.kind}/{item.raw.get('metadata', {}).get('name')}" for item in objects_from_files(file, api=object())]

def lightkube(file):
    from lightkube import codecs
    return [f"{type(item).__name__}/{item.metadata.name}" for item in codecs.load_all_yaml(open(file))]

def hikaru(file):
    from hikaru import load_full_yaml
    return [f"{item.kind}/{item.metadata.name}" for item in load_full_yaml(path=file)]

for file in files:
    try:
        print(library, file, *globals()[library](file))
    except Exception as error:
        print(library, file, type(error).__name__)
PY
cat > load.mjs <<'JS'
import { readFileSync } from 'node:fs';
import { loadAllYaml } from '@kubernetes/client-node';
import { loadString } from '@kosko/yaml';
const name = (item) => `${item.kind}/${item.metadata?.name}`;
for (const [library, load] of Object.entries({ 'client-node': loadAllYaml, kosko: loadString })) {
  for (const file of ['helm.yaml', 'list.yaml']) {
    try { console.log(library, file, ...(await load(readFileSync(file, 'utf8'))).map(name)); }
    catch (error) { console.log(library, file, error.name); }
  }
}
JS
{
  venv/bin/python load.py lightkube helm.yaml list.yaml
  venv/bin/python load.py kr8s helm.yaml list.yaml
  old/bin/python load.py hikaru helm.yaml list.yaml
  node load.mjs
} | tee seen
diff seen - <<'SEEN'
lightkube helm.yaml ConfigMap/a ConfigMap/b
lightkube list.yaml ConfigMap/a ConfigMap/b
kr8s helm.yaml ConfigMap/a ConfigMap/b
kr8s list.yaml List/None
hikaru helm.yaml AttributeError
hikaru list.yaml RuntimeError
client-node helm.yaml TypeError
client-node list.yaml List/undefined
kosko helm.yaml ConfigMap/a ConfigMap/b
kosko list.yaml List/undefined
SEEN
echo "as recorded: of five loaders one reads both streams"
