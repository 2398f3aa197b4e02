#!/usr/bin/env bash
# PyPI k8s (the FIAAS client): deleting one Job by its name deletes all Jobs of the namespace.
#
# Expected: Job.delete(name, namespace) is documented as "Delete the named resource", and Job.get(name, namespace) as the
#   one object; for every other kind the name is the last part of the path, as the Kubernetes API has it.
# Seen: the path of a Job has no place for the name. delete() sends DELETE to .../namespaces/default/jobs, which is the
#   API's deletecollection, without any selector. get() reads the list of Jobs and returns a Job without a name and
#   without containers, also if there is no such Job; saving it is a PUT on the collection. ResourceQuota has the same
#   path, so deleting one quota deletes all of them.
# Version: PyPI k8s 0.28.0.
# What it means: a controller that removes one finished agent's Job stops all running agents of the namespace. Give the
#   controller's Role no deletecollection; then the call fails with 403 instead.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check k8s==0.28.0
cat > jobs.py <<'PY'
import http.server
import json
import threading

from k8s import config
from k8s.models.job import Job
from k8s.models.pod import Pod
from k8s.models.resourcequota import ResourceQuota

requests = []


class ApiServer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_): pass

    def answer(self):
        requests.append(f"{self.command} {self.path}")
        body = {"kind": "JobList", "apiVersion": "batch/v1", "metadata": {"resourceVersion": "7"},
                "items": [{"metadata": {"name": "agent-1"}}, {"metadata": {"name": "agent-2"}}]}
        if self.command == "DELETE":
            body = {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        body = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_DELETE = answer


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
threading.Thread(target=server.serve_forever, daemon=True).start()
config.api_server = f"http://127.0.0.1:{server.server_port}"

Pod.delete("agent-1", "default")
Job.delete("agent-1", "default")
ResourceQuota.delete("agents", "default")
job = Job.get("agent-3", "default")
print("\n".join(requests))
print("read:", job.metadata.name, job.spec.template.spec.containers)
PY
venv/bin/python jobs.py | tee seen
diff seen - <<'SEEN'
DELETE /api/v1/namespaces/default/pods/agent-1
DELETE /apis/batch/v1/namespaces/default/jobs
DELETE /api/v1/namespaces/default/resourcequotas
GET /apis/batch/v1/namespaces/default/jobs
read: None []
SEEN
echo "as recorded: deleting one Job deletes the collection"
