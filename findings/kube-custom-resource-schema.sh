#!/usr/bin/env bash
# kube-custom-resource: the CRD forbids what the Python model allows, and does not know its single-value Literals.
#
# Expected: "generate schemas that are compatible with the Kubernetes OpenAPI implementation": an object that the model
#   accepts passes the CRD's schema. `schema.StructuralUnion` and `schema.Optional` are the documented annotations for
#   unions and for optional fields.
# Seen: a structural union merges the variants' members by name, and the last variant's type wins: where GitHub has
#   `repo: str` and GitLab `repo: int`, every GitHub source is refused. `schema.Optional[int | str]` keeps the int alone.
#   `Literal["github"]`, pydantic's usual discriminator, becomes `const`, which a CRD's schema does not have: it is an
#   unknown field for kubectl's and dropped otherwise, so any string passes. (If it counted, all but the last variant
#   would be refused for it.)
# Versions: PyPI kube-custom-resource 0.7.2; judges: PyPI jsonschema 4.26.0, and kubernetes 36.0.2 for the members of a
#   CRD's schema.
# What it means: sessions that an operator creates from its own models are answered with 422, depending on the order in
#   which a union was written down. Give the variants disjoint member names, and write a Literal with two values or more.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kube-custom-resource==0.7.2 jsonschema==4.26.0 kubernetes==36.0.2

cat > schema.py <<'PY'
import json
import typing

import jsonschema
from kube_custom_resource import CustomResource, schema
from kubernetes.client import V1JSONSchemaProps


class GitHub(schema.BaseModel):
    kind: typing.Literal["github"]
    repo: str


class GitLab(schema.BaseModel):
    kind: typing.Literal["gitlab"]
    repo: int


class Spec(schema.BaseModel):
    source: typing.Annotated[typing.Union[GitHub, GitLab], schema.StructuralUnion]
    budget: schema.Optional[typing.Union[int, str]] = None


class Session(CustomResource, version="v1"):
    spec: Spec


known = set(V1JSONSchemaProps.attribute_map.values())


def without_unknown(value):
    """The schema as the API server stores it: keywords that it does not have are dropped."""
    kept = {name: member for name, member in value.items() if name in known}
    for name in ("properties",):
        if name in kept:
            kept[name] = {key: without_unknown(member) for key, member in kept[name].items()}
    if "anyOf" in kept:
        kept["anyOf"] = [without_unknown(member) for member in kept["anyOf"]]
    return kept


written = Session.model_json_schema()["properties"]["spec"]
stored = without_unknown(written)
print("kind:", json.dumps(written["properties"]["source"]["properties"]["kind"]), "const known:", "const" in known)
print("repo:", json.dumps(stored["properties"]["source"]["properties"]["repo"]))
print("budget:", json.dumps(stored["properties"]["budget"]))
for spec in (
    {"source": {"kind": "github", "repo": "acme/app"}},
    {"source": {"kind": "gitlab", "repo": 7}},
    {"source": {"kind": "gitlab", "repo": 7}, "budget": 5},
    {"source": {"kind": "gitlab", "repo": 7}, "budget": "5 USD"},
    {"source": {"kind": "sourcehut", "repo": 7}},
):
    try:
        Spec.model_validate(spec)
        model = "accepts"
    except ValueError:
        model = "refuses"
    crd = "accepts" if jsonschema.Draft4Validator(stored).is_valid(spec) else "refuses"
    print(f"{json.dumps(spec)}: model {model}, CRD {crd}")
PY
venv/bin/python schema.py | tee seen
diff seen - <<'SEEN'
kind: {"const": "gitlab", "type": "string"} const known: False
repo: {"type": "integer"}
budget: {"nullable": true, "type": "integer"}
{"source": {"kind": "github", "repo": "acme/app"}}: model accepts, CRD refuses
{"source": {"kind": "gitlab", "repo": 7}}: model accepts, CRD accepts
{"source": {"kind": "gitlab", "repo": 7}, "budget": 5}: model accepts, CRD accepts
{"source": {"kind": "gitlab", "repo": 7}, "budget": "5 USD"}: model accepts, CRD refuses
{"source": {"kind": "sourcehut", "repo": 7}}: model refuses, CRD accepts
SEEN
echo "as recorded: model and CRD disagree"
