#!/usr/bin/env bash
# npm git-diff-parser loses the deletion of an SQL or Lua comment, and makes lines of file modes and hunk heads.
#
# Expected: as `git apply` counts. In a hunk the head `@@ -1,3 +1,3 @@` says how many lines follow, so the deletion of the
#   line `-- old comment`, which a diff shows as `--- old comment`, is a deleted line and no file header.
# Seen: git-diff-parser drops that line, in any file: the comment counts as added only. An added line that begins with
#   `++ ` is dropped too, a change of mode alone becomes two lines of "text", and the head of a short hunk, `@@ -1 +1,2 @@`,
#   becomes a line of the file. npm parse-diff and PyPI unidiff agree with git.
# Versions: npm git-diff-parser 1.0.0, parse-diff 0.12.0; PyPI unidiff 1.0.1; judge: git apply --numstat.
# What it means: a check of an agent's pull request that is built on it ("no migration may be deleted", a limit of
#   changed lines) does not see a deleted `-- ` line at all.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" git-diff-parser@1.0.0 parse-diff@0.12.0
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check unidiff==1.0.1

git init --quiet repository
(
  cd repository
  printf 'create table a (id int);\n-- old comment\ninsert into a values (1);\n' > migrate.sql
  printf 'one\n' > counter.c
  printf 'run\n' > run.sh
  git add .
  printf 'create table a (id int);\ninsert into a values (1);\n' > migrate.sql
  printf '++ one\none\n' > counter.c
  chmod +x run.sh
  git diff > ../changes.diff
)
cat > parse.mjs <<'JS'
import gitDiffParser from 'git-diff-parser';
import { readFileSync } from 'node:fs';
import parseDiff from 'parse-diff';

const diff = readFileSync('changes.diff', 'utf8');
for (const file of parseDiff(diff)) console.log(`parse-diff ${file.to}: +${file.additions} -${file.deletions}`);
for (const { files } of gitDiffParser(diff).commits) {
  for (const { name, lines } of files) {
    const count = (type) => lines.filter((line) => line.type === type).length;
    console.log(`git-diff-parser ${name}: +${count('added')} -${count('deleted')}, other lines:`,
      JSON.stringify(lines.filter(({ type }) => type === 'normal').map(({ text }) => text)));
  }
}
JS
cat > parse.py <<'PY'
import unidiff

for file in unidiff.PatchSet(open("changes.diff").read()):
    print(f"unidiff {file.path}: +{file.added} -{file.removed}")
PY
{
  git -C repository apply --numstat ../changes.diff | awk '{ print "git " $3 ": +" $1 " -" $2 }'
  venv/bin/python parse.py
  node parse.mjs
} | tee seen
diff seen - <<'SEEN'
git counter.c: +1 -0
git migrate.sql: +0 -1
git run.sh: +0 -0
unidiff counter.c: +1 -0
unidiff migrate.sql: +0 -1
unidiff run.sh: +0 -0
parse-diff counter.c: +1 -0
parse-diff migrate.sql: +0 -1
parse-diff run.sh: +0 -0
git-diff-parser counter.c: +0 -0, other lines: ["@ -1 +1,2 @@","one"]
git-diff-parser migrate.sql: +0 -0, other lines: ["create table a (id int);","insert into a values (1);"]
git-diff-parser run.sh: +0 -0, other lines: ["ld mode 100644","ew mode 100755",""]
SEEN
echo "as recorded: the deleted comment is lost"
