#!/usr/bin/env bash
# wait() of kr8s and lightkube is content with a condition that speaks of an older generation.
#
# Expected: as `kubectl wait --for=condition=Ready`, which both imitate: a condition whose observedGeneration (its own,
#   or status.observedGeneration) is behind metadata.generation does not count, because the controller has not seen the
#   new spec yet. kubectl 1.37 waits on such an object.
# Seen: both return at once. The object below has generation 2, and its Ready=True was observed at generation 1.
# Versions: PyPI kr8s 0.20.15, lightkube 1.0.1.
# What it means: "patch the agent's endpoint, wait for Ready, start the session" goes ahead with the *old* endpoint
#   having been checked. After a change, compare observedGeneration with generation as well.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kr8s==0.20.15 lightkube==1.0.1

cat > wait.py <<'PY'
import http.server, json, threading, warnings

warnings.simplefilter("ignore")
agent = {"apiVersion": "example.dev/v1", "kind": "Agent",
         "metadata": {"name": "a", "namespace": "default", "generation": 2, "resourceVersion": "7"},
         "spec": {"endpoint": "new"},
         "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]}}

class ApiServer(http.server.BaseHTTPRequestHandler):
    """One object: read it, list it, watch it (an ADDED event, then nothing)."""
    def log_message(self, *_): pass

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path.startswith("/version"):
            answer = {"major": "1", "minor": "35", "gitVersion": "v1.35.0"}
        elif "watch=" in query:
            answer = {"type": "ADDED", "object": agent}
        elif path.endswith("/a"):
            answer = agent
        else:
            answer = {"kind": "AgentList", "apiVersion": "example.dev/v1", "metadata": {"resourceVersion": "7"}, "items": [agent]}
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode() + b"\n")
        self.wfile.flush()
        if "watch=" in query:
            threading.Event().wait(5)

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
kubeconfig = {"apiVersion": "v1", "kind": "Config", "current-context": "c",
              "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
              "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "default"}}],
              "users": [{"name": "u", "user": {"token": "t"}}]}
with open("kubeconfig", "w") as file:
    json.dump(kubeconfig, file)

def with_kr8s():
    import kr8s
    from kr8s.objects import new_class
    kind = new_class("Agent", "example.dev/v1", namespaced=True)
    kind(agent, api=kr8s.api(kubeconfig="kubeconfig")).wait("condition=Ready", timeout=3)

def with_lightkube():
    import lightkube
    from lightkube.generic_resource import create_namespaced_resource
    kind = create_namespaced_resource("example.dev", "v1", "Agent", "agents")
    client = lightkube.Client(config=lightkube.KubeConfig.from_dict(kubeconfig), trust_env=False)
    client.wait(kind, "a", for_conditions=["Ready"])

done = []

def run(library):
    library()
    done.append(library)  # not reached after an exception

for library in (with_kr8s, with_lightkube):
    waiter = threading.Thread(target=run, args=(library,), daemon=True)
    waiter.start()
    waiter.join(2.5)
    verdict = "is content" if library in done else "still waits" if waiter.is_alive() else "failed"
    print(library.__name__.removeprefix("with_"), verdict)
PY
venv/bin/python wait.py | tee seen
diff seen - <<'SEEN'
kr8s is content
lightkube is content
SEEN
echo "as recorded: neither looks at observedGeneration"
