#!/usr/bin/env bash
# When the API server cannot be reached, the official Python leader election never says that leadership has ended.
#
# Expected: as in client-go: the leader retries until the renew deadline, then OnStoppedLeading is called, so that the
#   work stops before the lease runs out. The Python module takes the same settings (lease_duration, renew_deadline,
#   retry_period, onstarted_leading, onstopped_leading).
# Seen: the first renewal that meets a refused connection raises urllib3's MaxRetryError through run(). The lock only
#   catches ApiException, which needs an HTTP answer. renew_deadline is not waited for, onstopped_leading is not
#   called, and the thread of onstarted_leading goes on working, while another replica may take the lease.
# Version: PyPI kubernetes 37.0.2 (kubernetes.leaderelection with LeaseLock).
# What it means: an operator in Python that launches paid sessions has two active replicas after a short API outage,
#   if its main thread survives the exception. Wrap run(), and stop the work in `finally`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kubernetes==37.0.2

cat > elect.py <<'PY'
import http.server, json, logging, threading, time

from kubernetes import client
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

logging.disable(logging.CRITICAL)
lease = None

class ApiServer(http.server.BaseHTTPRequestHandler):
    """One Lease: read, create, replace."""
    def log_message(self, *_): pass

    def answer(self):
        global lease
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if body:
            lease = json.loads(body)
        code, answer = (200, lease) if lease else (404, {"kind": "Status", "code": 404})
        text = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = answer

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
threading.Thread(target=server.serve_forever, daemon=True).start()
client.Configuration.set_default(client.Configuration(host=f"http://127.0.0.1:{server.server_port}"))

work_done, stopped = 0, False

def lead():
    global work_done
    while True:
        work_done += 1
        time.sleep(0.1)

def stop():
    global stopped
    stopped = True

def outage():
    server.shutdown()
    server.server_close()

threading.Timer(2, outage).start()
deadline = 20
config = electionconfig.Config(LeaseLock("lock", "default", "me"), lease_duration=30, renew_deadline=deadline,
                               retry_period=1, onstarted_leading=lead, onstopped_leading=stop)
begin = time.monotonic()
try:
    leaderelection.LeaderElection(config).run()
    print("run() returned")
except Exception as error:
    print("run() raised", type(error).__name__, "before the deadline" if time.monotonic() - begin < deadline else "late")
before = work_done
time.sleep(1)
print("onstopped_leading called:", stopped)
print("work goes on:", work_done > before)
PY
venv/bin/python elect.py | tee seen
diff seen - <<'SEEN'
run() raised MaxRetryError before the deadline
onstopped_leading called: False
work goes on: True
SEEN
echo "as recorded: an outage ends the election without its callback"
