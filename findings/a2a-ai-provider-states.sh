#!/usr/bin/env bash
# a2a-ai-provider: a failed, refused or cancelled task finishes with "stop"; the question of a stream is lost.
#
# Expected: the AI SDK's finishReason tells "stop" from "error"; the provider has a table for it that maps A2A's failed
#   and rejected to "error" and canceled to "other". The text of a status update is the agent's message, at
#   input-required its question (A2A: TaskStatus.message).
# Seen: message/send ignores the table: "stop" for every state, and the reason of the failure is the model's text. A
#   stream uses the table for the last status, but the message of a status update is never read: after "Which branch?"
#   the text is empty and the reason "stop". A stream that ends while the task is still working is "stop" as well.
# Versions: npm a2a-ai-provider 0.5.0-alpha.1, ai 6.0.326, @a2a-js/sdk 0.3.14.
# What it means: an automation takes "no quota" for the agent's answer and a waiting agent for a silent, finished one.
#   Read the task's state from response.body (message/send) or the raw chunks (stream).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" \
  a2a-ai-provider@0.5.0-alpha.1 ai@6.0.326 @a2a-js/sdk@0.3.14
cat > client.mjs <<'JS'
import http from "node:http";
import { a2a } from "a2a-ai-provider";

console.log = () => {}; // the provider's own
const print = (line) => process.stdout.write(line + "\n");
const message = (text) => ({ kind: "message", role: "agent", messageId: "m", parts: [{ kind: "text", text }] });
const status = (state, text) => ({ state, ...(text && { message: message(text) }) });
const task = (...args) => ({ kind: "task", id: "t", contextId: "c", status: status(...args) });
const update = (...args) => ({
  kind: "status-update", taskId: "t", contextId: "c", final: args[0] !== "working", status: status(...args),
});
let now;

const agent = http.createServer(async (request, response) => {
  const url = `http://127.0.0.1:${agent.address().port}`;
  if (request.method === "GET") {
    response.setHeader("content-type", "application/json");
    return response.end(JSON.stringify({
      name: "agent", description: "agent", version: "1", protocolVersion: "0.3.0", url: `${url}/rpc`,
      preferredTransport: "JSONRPC", capabilities: { streaming: true }, skills: [],
      defaultInputModes: ["text/plain"], defaultOutputModes: ["text/plain"],
    }));
  }
  let body = "";
  for await (const chunk of request) body += chunk;
  const { id, method } = JSON.parse(body);
  const answer = (result) => JSON.stringify({ jsonrpc: "2.0", id, result });
  if (method === "message/send") {
    response.setHeader("content-type", "application/json");
    return response.end(answer(task(...now)));
  }
  response.setHeader("content-type", "text/event-stream");
  response.write(`data: ${answer(task("submitted"))}\n\n`);
  response.end(`data: ${answer(update(...now))}\n\n`);
});
await new Promise((resolve) => agent.listen(0, "127.0.0.1", resolve));

const model = a2a(`http://127.0.0.1:${agent.address().port}/.well-known/agent-card.json`);
const prompt = [{ role: "user", content: [{ type: "text", text: "go" }] }];
for (now of [["completed", "done"], ["failed", "no quota"], ["rejected", "not allowed"], ["canceled", "stopped"]]) {
  const { finishReason, content } = await model.doGenerate({ prompt });
  print(`send, ${now[0]}: ${finishReason}, text "${content.map((part) => part.text).join("")}"`);
}
for (now of [["input-required", "Which branch?"], ["failed", "no quota"], ["working"]]) {
  const { stream } = await model.doStream({ prompt });
  let text = "", reason;
  for await (const part of stream) {
    if (part.type === "text-delta") text += part.delta;
    if (part.type === "finish") reason = part.finishReason;
  }
  print(`stream, ${now[0]}: ${reason}, text "${text}"`);
}
process.exit(0);
JS
node client.mjs | tee seen
diff seen - <<'SEEN'
send, completed: stop, text "done"
send, failed: stop, text "no quota"
send, rejected: stop, text "not allowed"
send, canceled: stop, text "stopped"
stream, input-required: stop, text ""
stream, failed: error, text ""
stream, working: stop, text ""
SEEN
echo "as recorded: different ends look the same"
