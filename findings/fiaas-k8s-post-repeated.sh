#!/usr/bin/env bash
# PyPI k8s (the FIAAS client) repeats a POST after 504, 500 or a timeout: one save() creates several Jobs.
#
# Expected: a client repeats reads and other idempotent requests by itself, as urllib3's Retry does by default (GET, PUT,
#   DELETE and others, no POST). With metadata.generateName each POST is another object, and a 504 of the API server
#   says only that its time was over, not that nothing was created.
# Seen: the client switches the list of methods off and repeats all of them, up to ten times, also a POST whose answer
#   did not come within the timeout. save() of one Job creates three; the object in memory knows the last of them only.
#   With a fixed name the repeated POST is a 409, so a save that has succeeded is reported as failed.
# Version: PyPI k8s 0.28.0.
# What it means: a slow API server multiplies agents' Jobs, each of which starts a paid session. Give Jobs a name that
#   follows from the request, and read the object after a 409.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check k8s==0.28.0
cat > post.py <<'PY'
import http.server
import json
import threading
import time

from k8s import config
from k8s.client import ClientError
from k8s.models.common import ObjectMeta
from k8s.models.job import Job, JobSpec
from k8s.models.pod import Container, PodSpec, PodTemplateSpec

created = []
troubles = []


class ApiServer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_): pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        metadata = body["metadata"]
        name = metadata.get("name") or f"{metadata['generateName']}{len(created) + 1}"
        if name in created:
            return self.answer(409, {"kind": "Status", "reason": "AlreadyExists", "code": 409})
        created.append(name)
        trouble = troubles.pop(0) if troubles else None
        if trouble == "504":
            return self.answer(504, {"kind": "Status", "reason": "Timeout", "code": 504})
        if trouble == "slow":
            time.sleep(3)
        self.answer(201, dict(body, metadata=dict(metadata, name=name)))

    def answer(self, code, body):
        body = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass  # the client has gone


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
threading.Thread(target=server.serve_forever, daemon=True).start()
config.api_server = f"http://127.0.0.1:{server.server_port}"


def job(**names):
    container = Container(name="agent", image="agent")
    pod = PodTemplateSpec(spec=PodSpec(containers=[container], restartPolicy="Never"))
    return Job(metadata=ObjectMeta(namespace="default", **names), spec=JobSpec(template=pod))


def save(title, job, *trouble, timeout=None):
    created.clear()
    troubles[:] = trouble
    try:
        if timeout:
            job._client.post(job._build_url(namespace="default"), job.as_dict(), timeout=timeout)
            answer = "saved"
        else:
            job.save()
            answer = f"saved as {job.metadata.name}"
    except ClientError as error:
        answer = f"failed with {error.response.status_code}"
    print(f"{title}: {answer}; created: {', '.join(created)}")


save("generated name, two 504", job(generateName="agent-"), "504", "504")
save("generated name, no answer in time", job(generateName="agent-"), "slow", timeout=1)
save("fixed name, one 504", job(name="agent"), "504")
PY
venv/bin/python post.py 2>/dev/null | tee seen
diff seen - <<'SEEN'
generated name, two 504: saved as agent-3; created: agent-1, agent-2, agent-3
generated name, no answer in time: saved; created: agent-1, agent-2
fixed name, one 504: failed with 409; created: agent
SEEN
echo "as recorded: one save() creates several Jobs"
