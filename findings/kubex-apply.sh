#!/usr/bin/env bash
# kubex: a server-side apply of a model has no apiVersion and no kind, so the API server refuses it.
#
# Expected: ApplyPatch(body) is the "Server-side apply patch (application/apply-patch+yaml)" of a model. The models carry
#   their apiVersion and kind as defaults, and create() sends them; an apply needs both (fully specified intent).
# Seen: ApplyPatch leaves out what was not set by hand, and the two come from the class: the body has metadata and spec
#   alone. kube-apiserver 1.37.2 answers such a body with 400, "invalid object type: /, Kind=". In an object that was read
#   they are set, but then its creationTimestamp is written as `2026-11-30 08:00:00+00:00`, no time of RFC 3339: 500,
#   "cannot parse". An enum in a model raises RepresenterError. MergePatch writes times and enums right.
# Versions: PyPI kubex and kubex-core 0.1.0b3 with pydantic 2.14.4 and PyYAML 6.0.3.
# What it means: a controller that publishes its objects by apply fails at each one. Set api_version and kind by hand and
#   keep dates and enums out, or make a patch class of your own that dumps with mode="json".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  kubex==0.1.0b3 kubex-core==0.1.0b3 pydantic==2.14.4 PyYAML==6.0.3
cat > apply.py <<'PY'
import datetime
import enum
import json
import re
from typing import ClassVar, Literal

import yaml
from kubex.core.patch import ApplyPatch, MergePatch
from kubex_core.models.base import BaseK8sModel
from kubex_core.models.interfaces import NamespaceScopedEntity
from kubex_core.models.metadata import ObjectMetadata
from kubex_core.models.resource_config import ResourceConfig, Scope


class Mode(str, enum.Enum):
    REVIEW = "Review"


class Spec(BaseK8sModel):
    prompt: str | None = None
    mode: Mode | None = None
    not_before: datetime.datetime | None = None


class Session(NamespaceScopedEntity):
    __RESOURCE_CONFIG__: ClassVar[ResourceConfig["Session"]] = ResourceConfig(
        version="v1", group="agents.example", kind="Session", plural="sessions", scope=Scope.NAMESPACE)
    api_version: Literal["agents.example/v1"] = "agents.example/v1"
    kind: Literal["Session"] = "Session"
    spec: Spec | None = None


def session(**spec):
    return Session(metadata=ObjectMetadata(name="fix-login"), spec=Spec(**spec))


made = session(prompt="Fix the login")
print("create sends:", json.dumps(json.loads(made.model_dump_json(by_alias=True, exclude_none=True))))
print("apply sends:", json.dumps(yaml.safe_load(ApplyPatch(made).serialize())))
read = Session.model_validate({
    "apiVersion": "agents.example/v1", "kind": "Session",
    "metadata": {"name": "fix-login", "creationTimestamp": "2026-11-30T08:00:00Z"}})
time = re.search(r"creationTimestamp: (.*)", ApplyPatch(read).serialize())[1]
print("time in an apply:", time)
print("time in a merge patch:", json.loads(MergePatch(read).serialize())["metadata"]["creationTimestamp"])
print("enum in a merge patch:", json.loads(MergePatch(session(mode=Mode.REVIEW)).serialize())["spec"])
try:
    print(ApplyPatch(session(mode=Mode.REVIEW)).serialize())
except yaml.YAMLError as error:
    print("enum in an apply:", type(error).__name__)
PY
venv/bin/python apply.py | tee seen
diff seen - <<'SEEN'
create sends: {"apiVersion": "agents.example/v1", "kind": "Session", "metadata": {"name": "fix-login"}, "spec": {"prompt": "Fix the login"}}
apply sends: {"metadata": {"name": "fix-login"}, "spec": {"prompt": "Fix the login"}}
time in an apply: 2026-11-30 08:00:00+00:00
time in a merge patch: 2026-11-30T08:00:00Z
enum in a merge patch: {'mode': 'Review'}
enum in an apply: RepresenterError
SEEN
echo "as recorded: an apply names no kind"
