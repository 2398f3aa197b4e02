#!/usr/bin/env bash
# npm gitdiff-parser: an added or deleted file is "modify" if it is empty or binary; parse-git-patch miscounts lines.
#
# Expected: as `git diff --name-status` says: A for a new file, D for a deleted one, T or M with the modes for a change of
#   mode. The diff tells it in its own lines, "new file mode" and "deleted file mode", with or without a hunk.
# Seen: gitdiff-parser derives the type from `---`, `+++` and /dev/null, which a diff without hunks does not have: a deleted
#   `__init__.py` and a new or deleted picture have the type "modify", and a script that becomes executable has no change
#   and no modes. parse-git-patch takes the note "\ No newline at end of file" for a line: the only line of a file is added
#   as line 2. npm parse-git-diff agrees with git.
# Versions: npm gitdiff-parser 0.3.1, parse-git-patch 2.1.1, parse-git-diff 0.0.20; judge: git diff --name-status.
# What it means: a rule for an agent's pull request such as "nothing may be deleted" does not see the deletion of empty and
#   binary files, and a comment that is placed at the line that parse-git-patch gives is refused by the forge.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" \
  gitdiff-parser@0.3.1 parse-git-patch@2.1.1 parse-git-diff@0.0.20
git init --quiet repository
(
  cd repository
  : > __init__.py
  printf '\0\1' > old.png
  printf 'one' > version.txt
  printf 'run\n' > run.sh
  git add .
  git -c user.name=a -c user.email=a@example.dev commit --quiet --message base
  rm __init__.py old.png
  : > py.typed
  printf '\0\2' > new.png
  printf 'two' > version.txt
  chmod +x run.sh
  git add --all
  git diff --cached --no-renames > ../changes.diff
  git diff --cached --no-renames --name-status > ../status
)
cat > parse.cjs <<'JS'
const { readFileSync } = require('node:fs');
const gitDiffParser = require('gitdiff-parser');
const parseGitDiff = require('parse-git-diff').default;
const parseGitPatch = require('parse-git-patch').default;

const diff = readFileSync('changes.diff', 'utf8');
const other = new Map(parseGitDiff(diff).files.map(({ path, type }) => [path, type]));
const status = new Map(readFileSync('status', 'utf8').trim().split('\n').map((line) => line.split('\t').reverse()));
for (const { type, oldPath, newPath, oldMode, newMode } of gitDiffParser.parse(diff)) {
  const path = newPath === '/dev/null' ? oldPath : newPath;
  console.log(`${path}: git ${status.get(path)}, parse-git-diff ${other.get(path)}, gitdiff-parser ${type}`
    + (path === 'run.sh' ? `, modes ${oldMode} ${newMode}` : ''));
}
for (const { added, lineNumber, line } of parseGitPatch(diff).files.find(({ afterName }) => afterName === 'version.txt')
  .modifiedLines) console.log(`parse-git-patch: ${added ? 'added' : 'deleted'} line ${lineNumber}: ${line}`);
JS
node parse.cjs | tee seen
diff seen - <<'SEEN'
__init__.py: git D, parse-git-diff DeletedFile, gitdiff-parser modify
new.png: git A, parse-git-diff AddedFile, gitdiff-parser modify
old.png: git D, parse-git-diff DeletedFile, gitdiff-parser modify
py.typed: git A, parse-git-diff AddedFile, gitdiff-parser modify
run.sh: git M, parse-git-diff ChangedFile, gitdiff-parser modify, modes undefined undefined
version.txt: git M, parse-git-diff ChangedFile, gitdiff-parser modify
parse-git-patch: deleted line 1: one
parse-git-patch: added line 2: two
SEEN
echo "as recorded: deletions are modifications"
