#!/usr/bin/env bash
# eep-signer (PyPI): "Standard Webhooks" signatures that no Standard Webhooks library accepts, and the other way round.
#
# Expected: "Standard Webhooks HMAC-SHA256 signing and verification": with one secret of the specification's form,
#   whsec_ and base64, it accepts what the reference library signs, and the reference library what it signs. Header names
#   are case-insensitive, and its helper takes a request's headers as a dictionary.
# Seen: the specification's key is the decoded secret, its key is the text with whsec_: both directions fail. The helper
#   looks for lower-case names in a plain dictionary: with Webhook-Id as an HTTP/1.1 server may deliver it, a valid
#   signature is False. Both failures are just False, like a forged message.
# Versions: PyPI eep-signer 0.1.0; judge: PyPI standardwebhooks 1.1.0.
# What it means: an operator that tells subscribers "we use Standard Webhooks" and signs with it has subscribers that
#   refuse every event. Sign and verify with standardwebhooks or svix.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check eep-signer==0.1.0 standardwebhooks==1.1.0
cat > webhooks.py <<'PY'
import base64
import datetime

from eep_signer import EEPSigner, verify_eep_webhook
from standardwebhooks import Webhook, WebhookVerificationError

secret = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
body = '{"phase":"Finished"}'
now = datetime.datetime.now(datetime.timezone.utc)
timestamp = str(int(now.timestamp()))


def headers(signature):
    return {"webhook-id": "m", "webhook-timestamp": timestamp, "webhook-signature": signature}


def reference(signed):
    try:
        Webhook(secret).verify(body, signed)
        return True
    except WebhookVerificationError as error:
        return f"False ({error})"


standard = headers(Webhook(secret).sign("m", now, body))
eep = headers(EEPSigner(secret).sign("m", timestamp, body))
print("signed by standardwebhooks: standardwebhooks", reference(standard), "| eep-signer",
      verify_eep_webhook(body, standard, secret))
print("signed by eep-signer: standardwebhooks", reference(eep), "| eep-signer", verify_eep_webhook(body, eep, secret))
print("with Webhook-Id: eep-signer", verify_eep_webhook(body, {name.title(): eep[name] for name in eep}, secret))
raw = headers(EEPSigner("0123456789abcdef0123456789abcdef").sign("m", timestamp, body))
print("signed by eep-signer with the decoded secret: standardwebhooks", reference(raw))
PY
venv/bin/python webhooks.py | tee seen
diff seen - <<'SEEN'
signed by standardwebhooks: standardwebhooks True | eep-signer False
signed by eep-signer: standardwebhooks False (No matching signature found) | eep-signer True
with Webhook-Id: eep-signer False
signed by eep-signer with the decoded secret: standardwebhooks True
SEEN
echo "as recorded: the key is the text of the secret"
