#!/usr/bin/env bash
# aiok8s: a controller for any type watches Pods and is called with the names of Pods.
#
# Expected: build_controller(manager, reconciler, api_type=V1Deployment), "directly translated from" controller-runtime,
#   where For(&appsv1.Deployment{}) lists and watches Deployments, and two controllers of two types get two informers.
# Seen: the type is never used. Each controller lists and watches /api/v1/pods, all of a manager share that one
#   informer, and a Deployment's reconciler gets the requests of Pods. The resync period, 10 hours in the signature, is
#   at most 1.8 hours and may be a few seconds: the factor is random() / 5 * 0.9 where Go has random() / 5 + 0.9.
# Versions: PyPI aiok8s 0.0.2 with kubernetes_asyncio 36.1.0, which it needs and does not require.
# What it means: a reconciler that looks for "its" object by the name it is given finds none and takes it for deleted:
#   it cleans up, that is stops, what belongs to a Deployment or session of that name, and is never called for its own
#   objects.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check aiok8s==0.0.2 kubernetes_asyncio==36.1.0
cat > controllers.py <<'PY'
import asyncio
import http.server
import json
import os
import sys
import threading

from aiok8s.controller import _informers_map, builder, manager, reconcile
from kubernetes_asyncio import client

paths = set()
done = threading.Event()


class ApiServer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass

    def do_GET(self):
        path, _, query = self.path.partition("?")
        paths.add(path)
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        if "watch" in query:
            done.wait()
            return
        plural = path.rpartition("/")[2]
        self.wfile.write(json.dumps({
            "apiVersion": "v1", "kind": plural.rstrip("s").capitalize() + "List", "metadata": {"resourceVersion": "5"},
            "items": [{"metadata": {"name": f"one-of-{plural}", "namespace": "team-a", "uid": "1",
                                    "resourceVersion": "3"}, "spec": {"containers": []}}]}).encode())


class Reconciler:
    def __init__(self, kind):
        self.kind = kind
        self.called = asyncio.Event()

    async def reconcile(self, request):
        print(f"{self.kind} controller: {request.namespaced_name.name}", flush=True)
        self.called.set()
        return reconcile.Result()


async def main():
    for kind in (client.V1Deployment, client.V1ConfigMap):
        reconciler = Reconciler(kind.__name__)
        controllers = manager.new()
        await builder.build_controller(controllers, reconciler, api_type=kind)
        task = asyncio.ensure_future(controllers.start())
        await asyncio.wait_for(reconciler.called.wait(), 60)
        task.cancel()


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
client.Configuration.set_default(client.Configuration(host=f"http://127.0.0.1:{server.server_port}"))
try:
    asyncio.run(asyncio.wait_for(main(), 150))
finally:
    print("asked for:", ", ".join(sorted(paths)))
    period = _informers_map._resync_period(10 * 3600)
    print("resync of 10 hours, longest of 1000:", "under 2 hours" if max(period() for _ in range(1000)) < 7200 else "longer")
    sys.stdout.flush()
    os._exit(1 if sys.exc_info()[0] else 0)
PY
venv/bin/python controllers.py 2> errors | tee seen || { cat errors; exit 1; }
diff seen - <<'SEEN'
V1Deployment controller: one-of-pods
V1ConfigMap controller: one-of-pods
asked for: /api/v1/pods
resync of 10 hours, longest of 1000: under 2 hours
SEEN
echo "as recorded: Pods"
