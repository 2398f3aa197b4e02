#!/usr/bin/env bash
# python-a2a does not know the state "working": reading a running A2A task raises ValueError, or makes it "unknown".
#
# Expected: "Fully implements the official A2A specification with zero compromises". The specification's states up to 0.3
#   are submitted, working, input-required, completed, canceled, failed, rejected, auth-required and unknown; a task has
#   a contextId; an artifact has an id, a name and parts with `kind`.
# Seen: the library has "waiting", which no version of the specification has, and neither working, rejected nor
#   auth-required: Task.from_dict raises, Task.from_google_a2a answers UNKNOWN. The contextId is dropped and a random
#   sessionId invented, another one at each reading. The text of an artifact from the official SDK is '' (the library
#   looks for `type`), and of two text parts written with `type` only the first is returned, which get_text's promise,
#   "the text content from the most recent artifact", does not say. The id and name of such an artifact are lost.
# Versions: PyPI python-a2a 0.5.10 with the dependencies it needs to be imported; judge: PyPI a2a-sdk 0.3.26, the
#   project's own SDK.
# What it means: a controller that follows an agent's task through python-a2a fails at the first poll of a task that
#   works, or takes a refused task for one of unknown state and waits on. Use a2a-sdk.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  a2a-sdk==0.3.26 requests==2.34.2 flask==3.1.3 httpx==0.28.1 pydantic==2.14.4 fastapi==0.165.0
venv/bin/pip install --quiet --disable-pip-version-check --no-deps python-a2a==0.5.10
cat > states.py <<'PY'
import json

from a2a import types as official
from python_a2a import Task

for state in official.TaskState:
    task = official.Task(id="t", context_id="c", status=official.TaskStatus(state=state))
    wire = json.loads(task.model_dump_json(by_alias=True, exclude_none=True))
    try:
        read = Task.from_dict(wire).status.state.value
    except ValueError as error:
        read = f"ValueError: {error}"
    print(f"{state.value}: from_dict {read}, from_google_a2a {Task.from_google_a2a(wire).status.state.value}")

parts = [official.Part(official.TextPart(text=text)) for text in ("Opened the pull request ", "#12")]
task = official.Task(
    id="t", context_id="c", status=official.TaskStatus(state=official.TaskState.completed),
    artifacts=[official.Artifact(artifact_id="a", name="result", parts=parts)])
wire = json.loads(task.model_dump_json(by_alias=True, exclude_none=True))
first, second = Task.from_dict(wire), Task.from_dict(wire)
print("text:", repr(first.get_text()))
print("contextId kept:", "c" in first.to_dict().values())
print("same sessionId twice:", first.session_id == second.session_id)
for part in wire["artifacts"][0]["parts"]:
    part["type"] = part.pop("kind")
older = Task.from_dict(wire)
print("text with `type`:", repr(older.get_text()))
print("artifact's members:", sorted(older.artifacts[0]))
PY
venv/bin/python states.py | tee seen
diff seen - <<'SEEN'
submitted: from_dict submitted, from_google_a2a submitted
working: from_dict ValueError: 'working' is not a valid TaskState, from_google_a2a unknown
input-required: from_dict input-required, from_google_a2a input-required
completed: from_dict completed, from_google_a2a completed
canceled: from_dict canceled, from_google_a2a canceled
failed: from_dict failed, from_google_a2a failed
rejected: from_dict ValueError: 'rejected' is not a valid TaskState, from_google_a2a unknown
auth-required: from_dict ValueError: 'auth-required' is not a valid TaskState, from_google_a2a unknown
unknown: from_dict unknown, from_google_a2a unknown
text: ''
contextId kept: False
same sessionId twice: False
text with `type`: 'Opened the pull request '
artifact's members: ['parts']
SEEN
echo "as recorded: a working task cannot be read"
