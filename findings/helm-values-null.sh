#!/usr/bin/env bash
# helm-values (PyPI): a null in a values file is a value, a file that is not there is no error.
#
# Expected: "Load and merge Helm values files, later files are more important", as Helm does it. Helm's documentation: to
#   delete a key of the default values "you may override the value of the key to be null"; `-f` with an unknown file fails.
# Seen: the key stays with the value None, which a template writes as `null` or "None". A misspelt extra file, or a
#   misspelt chart, is passed over: the result is the defaults, or {}. And the module cannot be imported outside of Argo CD:
#   default arguments read two ARGOCD_ENV_ variables, and `git` is imported, which the package does not depend on.
# Versions: PyPI helm-values 0.1.7 with GitPython 3.2.1; judge, if installed: helm template (4.3.1 when recorded).
# What it means: an environment that takes a proxy or a CPU limit away gets manifests with `cpu: null`, and a misspelt
#   production file deploys the defaults, with no word about it. Merge with Helm, or check that each file is there.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check helm-values==0.1.7 GitPython==3.2.1
mkdir -p charts/agent/templates common
printf 'apiVersion: v2\nname: agent\nversion: 0.1.0\n' > charts/agent/Chart.yaml
printf 'limits: {cpu: 1, memory: 1Gi}\nproxy: http://proxy.example:3128\n' > charts/agent/values.yaml
printf 'values: {{ .Values | toJson }}\n' > charts/agent/templates/values.yaml
printf 'limits: {cpu: null}\nproxy: null\n' > common/agent.yaml
cat > merge.py <<'PY'
import json
import os

try:
    import values
except KeyError as error:
    print("import:", type(error).__name__, error)
os.environ["ARGOCD_ENV_GLOBAL_VALUES_REPO"] = os.environ["ARGOCD_ENV_INFRA_VALUES_REPO"] = "not used"
import values

print("values:", json.dumps(values.load_helm_values("agent", "dev", "common", "clusters")))
print("misspelt file:", json.dumps(values.load_helm_values("agent", "dev", "common", "clusters", "prodution.yaml")))
print("misspelt chart:", json.dumps(values.load_helm_values("agnet", "dev", "common", "clusters")))
PY
venv/bin/python merge.py | tee seen
diff seen - <<'SEEN'
import: KeyError 'ARGOCD_ENV_GLOBAL_VALUES_REPO'
values: {"limits": {"cpu": null, "memory": "1Gi"}, "proxy": null}
misspelt file: {"limits": {"cpu": null, "memory": "1Gi"}, "proxy": null}
misspelt chart: {}
SEEN
if command -v helm > /dev/null; then
  helm template charts/agent -f common/agent.yaml | grep '^values' | tee helm
  [ "$(cat helm)" = 'values: {"limits":{"memory":"1Gi"}}' ]
  if helm template charts/agent -f prodution.yaml 2> error; then exit 1; fi
  cat error
fi
echo "as recorded: null is a value"
