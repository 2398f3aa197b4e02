#!/usr/bin/env bash
# Idempotency decorators for FastAPI replay another answer than the first one: 200 for 201, a model as Python's repr.
#
# Expected: a request repeated with the same Idempotency-Key gets the result of the first one (IETF draft
#   "The Idempotency-Key HTTP Header Field": the server responds "with the result of the previously completed
#   operation"); fastapi-idempotency-key promises the "exact cached response", fastidempotent "the cached response".
# Seen: both decorators store what the function returns, before FastAPI makes the answer of it. The replay of a route
#   with status_code=201 is 200. A Pydantic model comes back as a JSON string with Python's repr from
#   fastapi-idempotency-key, and with another spelling of its dates, or without the quotes of a string, from
#   fastidempotent.
#   And fastapi-idempotency-key's middleware, which stores "2xx / 3xx / 4xx", does not store 303, 409, 410 or 429: the
#   repeated request runs the function again.
# Versions: PyPI fastapi-idempotency-key 0.1.1, fastidempotent 0.1.0, fastapi 0.165.0.
# What it means: a client whose first answer was lost, the case that the key is for, cannot read the replay, and an
#   operator that takes 201 for "launched" sees another status. Use the middleware, and store every status.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  fastapi-idempotency-key==0.1.1 fastidempotent==0.1.0 fastapi==0.165.0 pydantic==2.14.4 httpx==0.28.1
cat > replay.py <<'PY'
import asyncio
import datetime

import fastapi_idempotency_key
import fastidempotent
import httpx
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel


class Session(BaseModel):
    id: str
    created: datetime.datetime


session = Session(id="s1", created=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc))


async def twice(app, title, path):
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        for _ in range(2):
            answer = await client.post(path, headers={"Idempotency-Key": "k" + path}, json={})
            print(f"{title} {path}: {answer.status_code} {answer.text}".rstrip())


async def main():
    for title, decorator in (
        ("fastapi-idempotency-key", fastapi_idempotency_key.idempotent(backend=fastapi_idempotency_key.MemoryBackend())),
        ("fastidempotent", fastidempotent.idempotent(backend=fastidempotent.MemoryBackend())),
    ):
        app = FastAPI()

        @app.post("/sessions", status_code=201)
        @decorator
        async def launch(request: Request) -> Session:
            return session

        @app.post("/token")
        @decorator
        async def token(request: Request):
            return "abc"

        await twice(app, title, "/sessions")
        await twice(app, title, "/token")

    app = FastAPI()
    app.add_middleware(fastapi_idempotency_key.IdempotencyMiddleware, backend=fastapi_idempotency_key.MemoryBackend())
    runs = []

    @app.post("/launch")
    async def redirect():
        runs.append("run")
        return RedirectResponse("/sessions/s1", status_code=303)

    await twice(app, "middleware", "/launch")
    print("runs:", len(runs))


asyncio.run(main())
PY
venv/bin/python replay.py | tee seen
diff seen - <<'SEEN'
fastapi-idempotency-key /sessions: 201 {"id":"s1","created":"2026-01-01T00:00:00Z"}
fastapi-idempotency-key /sessions: 200 "id='s1' created=datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)"
fastapi-idempotency-key /token: 200 "abc"
fastapi-idempotency-key /token: 200 "abc"
fastidempotent /sessions: 201 {"id":"s1","created":"2026-01-01T00:00:00Z"}
fastidempotent /sessions: 200 {"id": "s1", "created": "2026-01-01 00:00:00+00:00"}
fastidempotent /token: 200 "abc"
fastidempotent /token: 200 abc
middleware /launch: 303
middleware /launch: 303
runs: 2
SEEN
echo "as recorded: the replay is another answer"
