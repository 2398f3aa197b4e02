#!/usr/bin/env bash
# cloudcoil: a list with a label selector ends after the first page; the cache keeps 500 objects and takes that for all.
#
# Expected: "List resources with elegant pagination": iterating over a list goes through all pages. The API reference
#   says how: go on while metadata.continue is set. remainingItemCount is no substitute: "If the list request contained
#   label or field selectors, then the number of remaining items is unknown and the field will be left unset".
# Seen: the next page is asked for only if remainingItemCount is set. Without a selector all objects come; with one, 50 of
#   620, and len() says 50. The informers of the cache read one page of 500 and then watch: in the mode "strict" the
#   others do not exist. A selector is evaluated by the cache only if it is exactly `key=value`: `a=b,c=d`, `==`, `in (…)`
#   and `key` alone select everything, `!=` nothing. Handlers given to on_add before the start hear of none of the
#   objects that exist, unlike client-go's informers.
# Versions: PyPI cloudcoil 0.6.0 with httpx 0.28.1 and pydantic 2.14.4.
# What it means: "how many sessions of this team run" is answered with 50 at most, and with the cache on, a filter with
#   two labels deletes or counts everybody's. Pass limit=0, and do not turn the cache on.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cloudcoil==0.6.0 httpx==0.28.1 pydantic==2.14.4
cat > list.py <<'PY'
import http.server
import json
import logging
import os
import sys
import threading
import urllib.parse

from cloudcoil.client import Config  # before cloudcoil.caching, which cannot be imported first
from cloudcoil.caching import Cache
from cloudcoil.errors import ResourceNotFound
from cloudcoil.resources import get_dynamic_resource

logging.disable(logging.CRITICAL)
DISCOVERY = {"kind": "APIGroupDiscoveryList", "items": [{
    "metadata": {"name": "agents.example"},
    "versions": [{"version": "v1", "resources": [{
        "resource": "sessions", "scope": "Namespaced", "responseKind": {"kind": "Session"}}]}]}]}
SESSIONS = [{"apiVersion": "agents.example/v1", "kind": "Session",
             "metadata": {"name": f"s-{number:03}", "namespace": "default",
                          "labels": {"team": "login", "tier": "gold" if number % 2 else "free"}}}
            for number in range(620)]
done = threading.Event()


class ApiServer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_): pass

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/version":
            self.answer({"major": "1", "minor": "37"})
        elif not url.path.endswith("sessions"):
            self.answer(DISCOVERY)
        elif "watch" in query:
            self.send_response(200)
            self.end_headers()
            done.wait()
        else:
            self.list(query)

    def list(self, query):
        selector = query.get("labelSelector")
        labels = dict(term.split("=") for term in selector.split(",")) if selector else {}
        found = [s for s in SESSIONS if labels.items() <= s["metadata"]["labels"].items()]
        first = int(query.get("continue", 0))
        end = first + int(query.get("limit", len(found)))
        metadata = {"resourceVersion": "700"}
        if end < len(found):
            metadata["continue"] = str(end)
            if not selector:
                metadata["remainingItemCount"] = len(found) - end
        self.answer({"apiVersion": "agents.example/v1", "kind": "SessionList", "metadata": metadata,
                     "items": found[first:end]})

    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
Session = get_dynamic_resource("Session", "agents.example/v1")
print("sessions:", len(SESSIONS))
with Config(server=address):
    print("all:", len(list(Session.list())))
    selected = Session.list(label_selector="team=login")
    print("team=login:", len(list(selected)), "len", len(selected), "next page:", selected.has_next_page(),
          "continue:", bool(selected.metadata.continue_))
    print("team=login, limit=0:", len(list(Session.list(label_selector="team=login", limit=0))))

config = Config(server=address, cache=Cache(mode="strict", resources=[Session]))
heard = []
config.cache.get_informer(Session, sync=True).on_add(heard.append)
with config:
    print("cache ready:", config.cache.wait(60))
    print("handlers heard of:", len(heard))
    for selector in (None, "team=login", "team=login,tier=gold", "tier==gold", "tier in (gold)", "paused", "tier!=gold"):
        print(f"cached, {selector or 'all'}:", len(Session.list(label_selector=selector).items))
    try:
        print(Session.get("s-600").name)
    except ResourceNotFound as error:
        print("cached, s-600:", type(error).__name__)
sys.stdout.flush()
os._exit(0)  # the informer's thread still watches
PY
venv/bin/python list.py | tee seen
diff seen - <<'SEEN'
sessions: 620
all: 620
team=login: 50 len 50 next page: False continue: True
team=login, limit=0: 620
cache ready: True
handlers heard of: 0
cached, all: 500
cached, team=login: 500
cached, team=login,tier=gold: 500
cached, tier==gold: 500
cached, tier in (gold): 500
cached, paused: 500
cached, tier!=gold: 0
cached, s-600: ResourceNotFound
SEEN
echo "as recorded: lists end early and selectors select everything"
