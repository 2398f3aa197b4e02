#!/usr/bin/env bash
# npm parse-git-config keeps the last of several values, breaks continued lines, and knows "URL" and "url" as two keys.
#
# Expected: as git-config documents the file: "multiple values" are normal for url.<base>.insteadOf and remote.<name>.fetch;
#   a line that ends with a backslash continues on the next one; section and variable names are case-insensitive.
# Seen: of two insteadOf or fetch lines only the last one is there. Of a continued value the part before the line's end
#   comes with the backslash in it, and the rest becomes a key of its own. `[Remote "upstream"]` with
#   `URL` is another section and another key. ini, which it parses with, is made for other files.
# Version: npm parse-git-config 3.0.0; judge: git config.
# What it means: a tool that takes a checkout's remote from it finds none, or does not apply the rewrite that sends
#   https://github.com/ through a mirror or through SSH, and an agent is started on another repository address than the one
#   that git uses. Ask `git config --get-all` and `git remote get-url`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" parse-git-config@3.0.0
cat > config <<'CONFIG'
[remote "origin"]
	url = https://github.com/acme/shop.git
	fetch = +refs/heads/*:refs/remotes/origin/*
	fetch = +refs/pull/*/head:refs/remotes/origin/pr/*
[Remote "upstream"]
	URL = https://github.com/upstream/shop.git
[url "ssh://git@mirror.example/"]
	insteadOf = https://github.com/
	insteadOf = gh:
[credential]
	helper = cache \
--timeout=900
CONFIG
cat > parse.cjs <<'JS'
const { execFileSync } = require('node:child_process');
const parse = require('parse-git-config');

const config = parse.expandKeys(parse.sync({ path: 'config' }));
const git = (key) => execFileSync('git', ['config', '--file', 'config', '--get-all', key], { encoding: 'utf8' })
  .trim().split('\n');
for (const [key, value] of [
  ['remote.origin.fetch', config.remote.origin.fetch],
  ['remote.upstream.url', config.remote.upstream?.url],
  ['url.ssh://git@mirror.example/.insteadOf', config.url['ssh://git@mirror.example/'].insteadOf],
  ['credential.helper', config.credential.helper],
]) console.log(`${key}: git ${JSON.stringify(git(key))}, parse-git-config ${JSON.stringify(value)}`);
console.log('credential:', JSON.stringify(config.credential), 'sections:', Object.keys(config).sort().join(' '));
JS
node parse.cjs | tee seen
diff seen - <<'SEEN'
remote.origin.fetch: git ["+refs/heads/*:refs/remotes/origin/*","+refs/pull/*/head:refs/remotes/origin/pr/*"], parse-git-config "+refs/pull/*/head:refs/remotes/origin/pr/*"
remote.upstream.url: git ["https://github.com/upstream/shop.git"], parse-git-config undefined
url.ssh://git@mirror.example/.insteadOf: git ["https://github.com/","gh:"], parse-git-config "gh:"
credential.helper: git ["cache --timeout=900"], parse-git-config "cache \\"
credential: {"helper":"cache \\","--timeout":"900"} sections: Remote credential remote url
SEEN
echo "as recorded: the last value counts"
