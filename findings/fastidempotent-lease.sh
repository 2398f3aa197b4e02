#!/usr/bin/env bash
# fastidempotent runs a request a second time while the first still runs, and a third time after the first has failed.
#
# Expected: "Concurrent duplicates are rejected with 409 Conflict while the first is still processing", and "records
#   expire after" the ttl that the middleware is given.
# Seen: the lock is a lease of 30 s (lock_timeout) that nothing renews: from then on the same key runs the function again
#   beside the first run. If the first run fails at last, it removes the record that the second has stored, so the key
#   runs a third time. And the ttl of the middleware has no effect on MemoryBackend, which has its own, one hour: with
#   ttl=86400 the key is forgotten after that hour.
# Version: PyPI fastidempotent 0.1.0 with fastapi 0.165.0. (The script sets lock_timeout and the backend's ttl to 1 s.)
# What it means: a launch of a coding agent that takes longer than the lease, a clone of a large repository say, is
#   started twice by a client that repeats it. Set lock_timeout above the longest run, and the backend's own ttl.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check fastidempotent==0.1.0 fastapi==0.165.0 httpx==0.28.1
cat > lease.py <<'PY'
import asyncio

import httpx
from fastapi import FastAPI
from fastidempotent import IdempotencyConfig, IdempotencyMiddleware, MemoryBackend


class Service:
    """Launches sessions; the first launch takes until `finish` is set, and then fails."""

    def __init__(self, **middleware):
        self.runs = 0
        self.finish = None
        app = FastAPI()
        app.add_middleware(IdempotencyMiddleware, **middleware)
        app.post("/sessions")(self.launch)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://service")

    async def launch(self):
        self.runs += 1
        run = self.runs
        if self.finish and run == 1:
            await self.finish.wait()
            raise RuntimeError("failed at last")
        return f"session {run}"

    async def post(self):
        answer = await self.client.post("/sessions", headers={"Idempotency-Key": "k"})
        return f"{answer.status_code} {answer.text}"


async def main():
    service = Service(backend=MemoryBackend(), config=IdempotencyConfig(lock_timeout=1))
    service.finish = asyncio.Event()
    first = asyncio.create_task(service.post())
    while service.runs == 0:
        await asyncio.sleep(0.01)
    answer = await service.post()
    print("repeated at once:", answer[:3])
    while answer.startswith("409"):
        await asyncio.sleep(0.1)
        answer = await service.post()
    print("repeated after the lease, first run still going:", answer)
    service.finish.set()
    print("first run:", await first)
    print("repeated again:", await service.post())

    service = Service(backend=MemoryBackend(ttl=1), ttl=86400)
    print("ttl 86400:", await service.post())
    await asyncio.sleep(1.5)
    print("ttl 86400, after the backend's ttl:", await service.post())


asyncio.run(main())
PY
venv/bin/python lease.py 2>/dev/null | tee seen
diff seen - <<'SEEN'
repeated at once: 409
repeated after the lease, first run still going: 200 "session 2"
first run: 500 Internal Server Error
repeated again: 200 "session 3"
ttl 86400: 200 "session 1"
ttl 86400, after the backend's ttl: 200 "session 2"
SEEN
echo "as recorded: one key runs three times"
