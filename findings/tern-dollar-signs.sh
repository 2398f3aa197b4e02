#!/usr/bin/env bash
# @hookflo/tern refuses a correctly signed Standard Webhooks message whose body has `$$` in it.
#
# Expected: the signature of Standard Webhooks is over "id.timestamp.body" with the body as it came, byte by byte. What a
#   sender has signed by the specification's own library, a verifier accepts, whatever the body says.
# Seen: tern puts the three parts together with String.replace("{body}", body), and JavaScript gives `$$`, `$&`, "$`" and
#   `$'` in the second argument a meaning of their own. So the body that is verified is another one as soon as it
#   contains one of them: "Invalid signature", each time the sender repeats it. `$5` is harmless. It concerns all of its
#   platforms with the format "{id}.{timestamp}.{body}": Clerk, Replicate, Polar, Dodo Payments.
# Versions: npm @hookflo/tern 4.1.0; judge: npm standardwebhooks 1.1.1.
# What it means: texts with shell in them are the daily bread of coding agents: an event with `echo $$` or `sed 's/$&/x/'`
#   never arrives, and the sender switches the endpoint off in the end. Verify with standardwebhooks.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" @hookflo/tern@4.1.0 standardwebhooks@1.1.1
cat > verify.js <<'JS'
const { WebhookVerificationService } = require("@hookflo/tern");
const { Webhook } = require("standardwebhooks");

const secret = "whsec_" + Buffer.from("0123456789abcdef0123456789abcdef").toString("base64");

async function main() {
  for (const prompt of ["fix the tests", "costs $5", "echo $$", "grep -c $'a' *", "sed 's/$&/x/'"]) {
    const body = JSON.stringify({ prompt });
    const at = new Date();
    const headers = {
      "webhook-id": "m",
      "webhook-timestamp": String(Math.floor(at / 1000)),
      "webhook-signature": new Webhook(secret).sign("m", at, body),
    };
    new Webhook(secret).verify(body, headers); // throws if it is not valid
    const request = new Request("http://receiver", { method: "POST", body, headers });
    const result = await WebhookVerificationService.verify(request, { platform: "replicateai", secret });
    console.log(`${prompt}: standardwebhooks valid, tern ${result.isValid ? "valid" : result.error}`);
  }
}

main();
JS
node verify.js | tee seen
diff seen - <<'SEEN'
fix the tests: standardwebhooks valid, tern valid
costs $5: standardwebhooks valid, tern valid
echo $$: standardwebhooks valid, tern Invalid signature
grep -c $'a' *: standardwebhooks valid, tern Invalid signature
sed 's/$&/x/': standardwebhooks valid, tern Invalid signature
SEEN
echo "as recorded: dollar signs break the signature"
