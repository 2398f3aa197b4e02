#!/usr/bin/env bash
# @reactive-agents/a2a: tasks/cancel does not find the task that tasks/get returns; answers have no id.
#
# Expected: an A2A server that has a task answers tasks/cancel with it, or with TaskNotCancelableError if it is too late.
#   A JSON-RPC answer carries the id of its request. The states are those of A2A 0.3.0, which its agent card declares,
#   among them input-required.
# Seen: the HTTP server keeps tasks in one store and cancels in another one that nothing is ever put into: TASK_NOT_FOUND
#   for each task, also for one that works at the moment; it runs to its end. All results have the id null. A second
#   message to the task is a new task with a new context, whatever taskId and contextId say. Its schema of a task knows
#   input_required only and refuses input-required.
# Versions: npm @reactive-agents/a2a 0.9.0, effect 3.22.4.
# What it means: an operator that cancels through such a server never stops the agent, and takes "not found" for
#   "already gone". Read the task once more before a cancel counts as done.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" @reactive-agents/a2a@0.9.0 effect@3.22.4
cat > server.mjs <<'JS'
import { Effect, Fiber, Layer, Schema } from "effect";
import {
  A2AHttpServer, A2ATaskSchema, createA2AHttpServer, createA2AServer, generateAgentCard,
} from "@reactive-agents/a2a";

let running;
const begun = new Promise((resolve) => { running = resolve; });
let finish;
const finished = new Promise((resolve) => { finish = resolve; });
const work = (text, id) => Effect.promise(async () => {
  if (text === "long") {
    running(id);
    await finished;
  }
  return "done";
});
const card = generateAgentCard({ name: "agent", url: "http://agent" });
const layer = createA2AHttpServer(0, work).pipe(Layer.provide(createA2AServer(card)));

await Effect.runPromise(Effect.gen(function* () {
  const server = yield* A2AHttpServer;
  const call = (id, method, params) => server.handleJsonRpc({ jsonrpc: "2.0", id, method, params })
    .pipe(Effect.catchAll((error) => Effect.succeed({ error: error.code })));
  const send = (id, text, ids) => call(id, "message/send", {
    message: { kind: "message", role: "user", messageId: `m${id}`, parts: [{ kind: "text", text }], ...ids },
  });
  const long = yield* Effect.fork(send(1, "long"));
  const taskId = yield* Effect.promise(() => begun);
  const get = yield* call(2, "tasks/get", { id: taskId });
  console.log(`tasks/get: ${get.result.status.state}, answer to request ${get.id}`);
  console.log(`tasks/cancel: ${(yield* call(3, "tasks/cancel", { id: taskId })).error}`);
  finish();
  const { result } = yield* Fiber.join(long);
  console.log(`then: ${result.status.state}`);
  const second = (yield* send(4, "more", { taskId, contextId: result.contextId })).result;
  console.log(`second message: same task ${second.id === taskId}, same context ${second.contextId === result.contextId}`);
}).pipe(Effect.provide(layer)));

for (const state of ["working", "input-required", "input_required"]) {
  const task = { id: "t", status: { state, timestamp: "2026-01-01T00:00:00Z" } };
  console.log(`schema, ${state}: ${Schema.is(A2ATaskSchema)(task)}`);
}
JS
node server.mjs | tee seen
diff seen - <<'SEEN'
tasks/get: working, answer to request null
tasks/cancel: TASK_NOT_FOUND
then: completed
second message: same task false, same context false
schema, working: true
schema, input-required: false
schema, input_required: true
SEEN
echo "as recorded: a task that can be read cannot be cancelled"
