#!/usr/bin/env bash
# kubecrds: CRDs made from dataclasses have no required fields and no defaults, and cannot hold an optional string.
#
# Expected: as its README shows for a field `name: str` and a list with a default: `required: [name]` and `default: []`.
#   An optional string is a string, a Literal or an Enum an enumeration, a dict of strings keeps its entries.
# Seen: nothing is required and no default is there. Whatever is not a plain scalar or a list, so also Optional[str],
#   Literal, Enum and a nested dataclass, is `type: object` without properties: the API server refuses a string there,
#   and prunes every entry of an object there.
# Versions: PyPI kubecrds 34.1.4. The older package of the same origin, kubecrd 0.5.0, writes both, but
#   `type: [string, null]` for an optional string, which no CRD may have.
# What it means: sessions without a prompt are stored, an optional `branch: main` is refused, and labels or a nested
#   reference are stored empty. Look at the CRD that comes out before it is installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > crd.py <<'PY'
import dataclasses
import json
import sys
from typing import Dict, List, Literal, Optional

import yaml

KubeResourceBase = __import__(sys.argv[1]).KubeResourceBase


@dataclasses.dataclass
class Reference:
    name: str


@dataclasses.dataclass
class Session(KubeResourceBase):
    __group__ = "example.dev"
    __version__ = "v1"

    prompt: str
    retries: int = 3
    branch: Optional[str] = None
    mode: Literal["auto", "plan"] = "auto"
    labels: Dict[str, str] = dataclasses.field(default_factory=dict)
    agent: Optional[Reference] = None
    tags: List[str] = dataclasses.field(default_factory=list)


spec = yaml.safe_load(Session.crd_schema())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
print(sys.argv[1], "required:", json.dumps(spec.get("required")))
for name, schema in sorted(spec["properties"].items()):
    print(sys.argv[1], f"{name}:", json.dumps(schema, sort_keys=True))
PY
for package in kubecrds==34.1.4 kubecrd==0.5.0; do
  python3 -m venv "venv-$package"
  "venv-$package/bin/pip" install --quiet --disable-pip-version-check "$package" pyyaml==6.0.3
  "venv-$package/bin/python" crd.py "${package%%=*}"
done | tee seen
diff seen - <<'SEEN'
kubecrds required: null
kubecrds agent: {"type": "object"}
kubecrds branch: {"type": "object"}
kubecrds labels: {"type": "object"}
kubecrds mode: {"type": "object"}
kubecrds prompt: {"type": "string"}
kubecrds retries: {"type": "integer"}
kubecrds tags: {"items": {"type": "string"}, "type": "array"}
kubecrd required: ["prompt"]
kubecrd agent: {"default": null, "properties": {"name": {"type": "string"}}, "required": ["name"], "type": ["object", "null"]}
kubecrd branch: {"default": null, "type": ["string", "null"]}
kubecrd labels: {"additionalProperties": {"type": "string"}, "default": {}, "type": "object"}
kubecrd mode: {"default": "auto", "enum": ["auto", "plan"], "type": "string"}
kubecrd prompt: {"type": "string"}
kubecrd retries: {"default": 3, "type": "integer"}
kubecrd tags: {"default": [], "items": {"type": "string"}, "type": "array"}
SEEN
echo "as recorded: optional fields and maps are objects without properties"
