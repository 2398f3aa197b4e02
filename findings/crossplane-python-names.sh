#!/usr/bin/env bash
# Crossplane's Python SDK: child_name gives different parents' children one name, and a model with a date cannot be set.
#
# Expected: child_name builds "a deterministic, DNS-label-safe name for a child resource" from the parent's name and a
#   discriminator, with a hash "for uniqueness"; different parents get different children. resource.update takes "a
#   dictionary, a protobuf Struct, or a Pydantic model", so also the usual models of a CRD, which hold its date-time
#   fields as datetime and its enums as Enum.
# Seen: the hash is taken of the joined text, in which the parts can no longer be told apart: the child "b-c" of "a" and
#   the child "c" of "a-b" have one name with one hash. Dots and capitals of a part are kept, and no label may have them
#   (names of objects may have dots). A model with a date or an Enum raises ValueError, since the SDK dumps it in
#   Pydantic's Python mode.
# Versions: PyPI crossplane-function-sdk-python 0.15.1, pydantic 2.14.4.
# What it means: two composites share one composed session: the second adopts or overwrites the first one's, and the
#   deletion of one stops the other's agent. Put the parent's uid into the parts. Pass model_dump(mode="json",
#   exclude_unset=True, by_alias=True) instead of the model.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check crossplane-function-sdk-python==0.15.1 pydantic==2.14.4
cat > names.py <<'PY'
import enum
import re

import crossplane.function.proto.v1.run_function_pb2 as fnv1
import pydantic
from crossplane.function import resource

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")  # RFC 1123, as Kubernetes checks it

for parts in (("review", "bot-main"), ("review-bot", "main"), ("review.v2", "main")):
    name = resource.child_name(*parts)
    print(parts, name, "a label" if LABEL.fullmatch(name) else "no label")


class Phase(enum.Enum):
    RUNNING = "Running"


class Session(pydantic.BaseModel):
    apiVersion: str = "example.dev/v1"
    kind: str = "Session"
    start: pydantic.AwareDatetime | None = None
    phase: Phase | None = None
    prompt: str | None = None


for fields in ({"prompt": "x"}, {"start": "2026-01-01T00:00:00Z"}, {"phase": "Running"}):
    try:
        target = fnv1.Resource()
        resource.update(target, Session(**fields))
        print(fields, "set")
    except ValueError as error:
        print(fields, f"ValueError: {error}")
PY
venv/bin/python names.py | tee seen
diff seen - <<'SEEN'
('review', 'bot-main') review-bot-main-952fa a label
('review-bot', 'main') review-bot-main-952fa a label
('review.v2', 'main') review.v2-main-de253 no label
{'prompt': 'x'} set
{'start': '2026-01-01T00:00:00Z'} ValueError: Unexpected type
{'phase': 'Running'} ValueError: Unexpected type
SEEN
echo "as recorded: one name for two children, and no dates"
