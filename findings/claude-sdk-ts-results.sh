#!/usr/bin/env bash
# @instantlyeasy/claude-code-sdk-ts: result and cost are always empty, every run has succeeded, the timeout is not used.
#
# Expected: asResult() "Get final result message", getUsage() with the cost, asToolExecutions() "Get tool execution
#   details", succeeded() "return success status", withTimeout(ms), acceptEdits() "Accept all edits automatically".
# Seen, with the lines that Claude Code prints in stream-json: the text of the result is in its member `result`, the
#   cost in `total_cost_usd`; the library reads `content` and `cost`, so asResult() is '' and the cost 0. The outcome of
#   a tool comes in a line of type `user`, which is dropped: no executions, findToolResults finds nothing, and
#   succeeded() is true after a failed command and after a final result with is_error. The timeout is stored only.
#   acceptEdits adds no argument to the command line, withMCP gives a list for what has to be an object by name, two
#   directories become one argument.
# Versions: npm @instantlyeasy/claude-code-sdk-ts 0.3.3; line shapes as of Claude Code 2.1.
# What it means: an automation that decides by succeeded() opens a pull request after each failed run, bills nothing,
#   and a hanging agent hangs it for ever. Read the lines yourself: is_error, result, total_cost_usd.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" @instantlyeasy/claude-code-sdk-ts@0.3.3
mkdir bin home
cat > bin/claude <<'CLI'
#!/usr/bin/env bash
printf '%s\n' "$@" > arguments
prompt=$(cat)
[ "$prompt" != slow ] || sleep 3
printf '%s\n' '{"type":"system","subtype":"init","session_id":"s"}' \
  '{"type":"assistant","session_id":"s","message":{"content":[{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"make"}}]}}' \
  '{"type":"user","session_id":"s","message":{"content":[{"type":"tool_result","tool_use_id":"t1","is_error":true,"content":"Exit code 2"}]}}'
if [ "$prompt" = interrupted ]; then
  printf '%s\n' '{"type":"result","subtype":"error_during_execution","is_error":true,"session_id":"s","total_cost_usd":0.2}'
else
  printf '%s\n' '{"type":"result","subtype":"success","is_error":false,"result":"The build fails.","session_id":"s","total_cost_usd":0.2,"usage":{"input_tokens":10,"output_tokens":2}}'
fi
CLI
chmod +x bin/claude
cat > run.mjs <<'JS'
import { claude } from '@instantlyeasy/claude-code-sdk-ts';
import { readFileSync } from 'node:fs';

const build = claude().query('build');
console.log('result:', JSON.stringify(await build.asResult()), 'cost:', (await build.getUsage()).totalCost);
console.log('tool executions:', (await build.asToolExecutions()).length, 'succeeded:', await build.succeeded());
console.log('interrupted, succeeded:', await claude().query('interrupted').succeeded());
const begin = performance.now();
await claude().withTimeout(100).query('slow').asArray();
console.log('timeout 0.1 s, took 3 s or more:', performance.now() - begin >= 2900);
await claude().acceptEdits().addDirectory(['lib', 'docs']).withMCP({ command: 'issues-server' }).query('build').asArray();
console.log('arguments:', JSON.stringify(readFileSync('arguments', 'utf8').trim().split('\n')));
JS
HOME=$work/home PATH=$work/bin:$PATH node run.mjs | tee seen
diff seen - <<'SEEN'
result: "" cost: 0
tool executions: 0 succeeded: true
interrupted, succeeded: true
timeout 0.1 s, took 3 s or more: true
arguments: ["--output-format","stream-json","--verbose","--mcp-config","{\"mcpServers\":[{\"command\":\"issues-server\"}]}","--add-dir","lib docs","--print"]
SEEN
echo "as recorded: everything has succeeded"
