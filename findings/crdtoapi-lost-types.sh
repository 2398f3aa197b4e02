#!/usr/bin/env bash
# crdtoapi: of two CRDs with one kind name only one is left, and an int-or-string field gets the type `undefined`.
#
# Expected: the tools convert a folder of CRDs into an OpenAPI file and TypeScript types, "ensure type accuracy" and have
#   "unknown | null" for a field with no type. A kind's name is unique within its group only: Gateway, Cluster, Backup or
#   Session exist in several.
# Seen: schemas, types and models are named by version and kind without the group, so the CRD whose file is read last
#   replaces the other one, without a word. A field with x-kubernetes-int-or-string, or with preserved unknown members and
#   no type, becomes `undefined`: no value can be assigned to it. `nullable` is lost. The file says `openapi: 3.1.0`, in
#   which `nullable` no longer exists and the copied `exclusiveMinimum: true` is invalid.
# Version: npm crdtoapi 0.0.19.
# What it means: a console's or bot's TypeScript has the fields of another operator's Session, and does not compile for a
#   port "http", a maxUnavailable "50%" or a free-form configuration. One folder for each group; patch the types.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" crdtoapi@0.0.19
mkdir crds types models
crd() { # group, properties of spec
  cat > "crds/$1.yaml" <<YAML
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: sessions.$1
spec:
  group: $1
  names: {kind: Session, listKind: SessionList, plural: sessions, singular: session}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            properties: $2
YAML
}
crd agents.example.dev '{prompt: {type: string, nullable: true}, port: {x-kubernetes-int-or-string: true}, settings: {x-kubernetes-preserve-unknown-fields: true}, budget: {type: number, minimum: 0, exclusiveMinimum: true}}'
bin=node_modules/.bin
spec() { sed -n '/^export interface V1SessionSpec/,/^}/p' types/V1SessionSpec.ts | grep -v '[*]'; }

{
  "$bin/crdtoapi" -i crds -o openapi.yaml > log
  "$bin/crdtotypes" -i openapi.yaml -o types > log
  echo 'one CRD:'
  spec
  grep -E 'openapi:|exclusiveMinimum' openapi.yaml
  crd terminals.example.dev '{shell: {type: string}}'
  "$bin/crdtoapi" -i crds -o openapi.yaml > log 2>&1 && echo 'two CRDs: crdtoapi exits 0'
  "$bin/crdtotypes" -i openapi.yaml -o types > log 2>&1 && echo 'crdtotypes exits 0'
  spec
  "$bin/crdtomodel" -i crds -o models > log 2>&1 && echo 'crdtomodel exits 0'
  ls models
  grep apiGroup models/SessionModel*
} | tee seen
diff seen - <<'SEEN'
one CRD:
export interface V1SessionSpec {
  prompt?: string;
  port?: undefined;
  settings?: undefined;
  budget?: number;
}
openapi: 3.1.0
              exclusiveMinimum: true
two CRDs: crdtoapi exits 0
crdtotypes exits 0
export interface V1SessionSpec {
  shell?: string;
}
crdtomodel exits 0
SessionModel.v1.ts
index.ts
  apiGroup: 'terminals.example.dev',
SEEN
echo "as recorded: one kind is lost, and two fields cannot be set"
