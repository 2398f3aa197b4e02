#!/usr/bin/env bash
# drf-idem runs the view for every repeated request, and only the answer is the first one's.
#
# Expected: on a duplicate (same X-Request-ID, method and path within the TTL) "business logic is not executed" and the
#   original status and body are returned; that is the point of an idempotency key.
# Seen: the middleware calls the view first and looks into its cache afterwards. Three requests with one key launch three
#   sessions, and all three answers say session 1. The client cannot notice; the duplicate statistics count two
#   prevented duplicates. Headers of the first answer are lost too: Location is there once only.
# Version: PyPI drf-idem 0.1.1 with Django 5.2.19.
# What it means: a launch endpoint behind it starts a paid agent per retry, and the sessions 2 and 3 have nobody who
#   knows them. Claim the key in the view's own transaction instead.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check drf-idem==0.1.1 Django==5.2.19 djangorestframework==3.18.3
cat > service.py <<'PY'
import django
from django.conf import settings

memory = "django.core.cache.backends.locmem.LocMemCache"
settings.configure(
    SECRET_KEY="none", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.admin", "drf_idem"],
    MIDDLEWARE=["drf_idem.middleware.IdempotencyMiddleware"],
    CACHES={"default": {"BACKEND": memory}, "drf_idem": {"BACKEND": memory, "LOCATION": "idem"}},
)
django.setup()

from django.http import JsonResponse
from django.test import Client
from django.urls import path
from drf_idem.cache import IdempotencyCache

launched = []


def launch(request):
    launched.append(f"session {len(launched) + 1}")
    return JsonResponse({"launched": launched[-1]}, status=201, headers={"Location": f"/sessions/{len(launched)}"})


urlpatterns = [path("sessions/", launch)]
client = Client()
for _ in range(3):
    answer = client.post("/sessions/", headers={"X-Request-ID": "k"})
    print(answer.status_code, answer.content.decode(), "Location:", answer.get("Location"))
print("launched:", ", ".join(launched))
print("duplicates prevented, it says:", IdempotencyCache().get_top_stats()[0]["count"])
PY
venv/bin/python service.py | tee seen
diff seen - <<'SEEN'
201 {"launched": "session 1"} Location: /sessions/1
201 {"launched": "session 1"} Location: None
201 {"launched": "session 1"} Location: None
launched: session 1, session 2, session 3
duplicates prevented, it says: 2
SEEN
echo "as recorded: one key launches three sessions"
