#!/usr/bin/env bash
# kubesdk never repeats a request, whatever backoff_limit and retry_statuses say; a limit of 0 sends nothing at all.
#
# Expected: APIRequestProcessingConfig(backoff_limit=3, backoff_interval, retry_statuses) is how each call is told what to
#   repeat and how often: with 503 in retry_statuses, a server that answers 503 once and then 200 is asked twice.
# Seen: the number of attempts is min(1, backoff_limit): one, for every limit from 1 on. The first 503, 429 or timeout is
#   the caller's error. With backoff_limit=0, "no repetition" elsewhere (a Job's backoffLimit), there is no first attempt
#   either: a RuntimeError without any request.
# Version: PyPI kubesdk 0.3.4, kube-models 0.6.0.
# What it means: a controller that relies on it fails its pass at each restart of an API server and at each answer of
#   priority and fairness. Repeat in the caller, reads and idempotent writes only.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kubesdk==0.3.4 kube-models==0.6.0
cat > retry.py <<'PY'
import asyncio
import http.server
import json
import logging
import os
import threading

from kube_models.api_v1.io.k8s.api.core.v1 import ConfigMap
from kubesdk import KubeConfig, get_k8s_resource, login
from kubesdk.client import APIRequestProcessingConfig

logging.disable(logging.CRITICAL)
requests = []


class ApiServer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_): pass

    def do_GET(self):
        answer = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
        code = 200
        if "configmaps" in self.path:
            requests.append(self.path)
            if len(requests) == 1:
                code, answer = 503, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503}
        self.answer(code, answer)

    def do_POST(self):  # login asks who it is
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(201, {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
                          "metadata": {}, "status": {"userInfo": {"username": "a"}}})

    def answer(self, code, answer):
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
threading.Thread(target=server.serve_forever, daemon=True).start()
with open("kubeconfig", "w") as file:
    json.dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "a", "user": {"token": "t"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    }, file)


async def main():
    await login(KubeConfig(path=os.path.abspath("kubeconfig")))
    for limit in (5, 1, 0):
        requests.clear()
        processing = APIRequestProcessingConfig(backoff_limit=limit, backoff_interval=0, retry_statuses=[503])
        try:
            await get_k8s_resource(ConfigMap, "a", "default", processing=processing)
            answer = "answered"
        except Exception as error:
            answer = type(error).__name__
        print(f"backoff_limit={limit}: {answer} after {len(requests)} requests")
    os._exit(0)


asyncio.run(main())
PY
PYTHONUNBUFFERED=1 venv/bin/python retry.py | tee seen
diff seen - <<'SEEN'
backoff_limit=5: ServiceUnavailableError after 1 requests
backoff_limit=1: ServiceUnavailableError after 1 requests
backoff_limit=0: RuntimeError after 0 requests
SEEN
echo "as recorded: no second attempt"
