#!/usr/bin/env bash
# patch-ng says that it has applied a git diff, and has deleted another file, moved one, skipped one, added a line end.
#
# Expected: "Library to parse and apply unified diffs", git's among them; apply() returns True on success. Then the files
#   are as after `git apply`.
# Seen, with True each time: the deletion of a/config.yaml deletes config.yaml, since the prefixes a/ and b/ are taken off
#   twice if the other side is /dev/null; a new b/config.yaml becomes config.yaml in the same way; an empty file is neither
#   made nor deleted; a file without a line end gets one, though the diff says "\ No newline at end of file". The first
#   lines of an empty file are refused with False, after the other files have been changed.
# Version: PyPI patch-ng 1.19.1; judge: git apply.
# What it means: a worker that applies an agent's diff pushes other files than the agent has tested, with folders called a
#   or b the wrong ones, and no error tells. Use git apply.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check patch-ng==1.19.1
cat > apply.py <<'PY'
import logging
import subprocess
from pathlib import Path

import patch_ng

logging.disable(logging.CRITICAL)


def git(folder, *arguments):
    run = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@example.dev", *arguments]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder):
    return {str(file.relative_to(folder)): file.read_text() for file in sorted(folder.rglob("*"))
            if file.is_file() and ".git" not in file.parts}


def compare(title, before, after):
    folder = Path(title.replace(" ", "-"))
    write(folder / "git", before)
    git(folder / "git", "init", "--quiet")
    git(folder / "git", "add", "--all")
    git(folder / "git", "commit", "--quiet", "--message", "before")
    for name in before.keys() - after.keys():
        (folder / "git" / name).unlink()
    write(folder / "git", after)
    git(folder / "git", "add", "--all")
    (folder / "diff").write_text(git(folder / "git", "diff", "--cached"))
    git(folder / "git", "reset", "--quiet", "--hard")
    git(folder / "git", "apply", str((folder / "diff").resolve()))
    assert read(folder / "git") == after
    write(folder / "library", before)
    answer = patch_ng.fromfile(str(folder / "diff")).apply(strip=0, root=str(folder / "library"))
    print(f"{title}: {answer}\n  git apply: {after}\n  patch-ng:  {read(folder / 'library')}")


compare("delete in a", {"a/config.yaml": "old\n", "config.yaml": "keep\n"}, {"config.yaml": "keep\n"})
compare("new in b", {"readme": "1\n"}, {"b/config.yaml": "new\n", "readme": "1\n"})
compare("new empty file", {"readme": "1\n"}, {"agent/__init__.py": "", "readme": "2\n"})
compare("deleted empty file", {"agent/__init__.py": "", "readme": "1\n"}, {"readme": "2\n"})
compare("no line end", {"version": "1"}, {"version": "2"})
compare("line end removed", {"version": "1\n"}, {"version": "1"})
compare("first lines", {"notes": "", "readme": "1\n"}, {"notes": "text\n", "readme": "2\n"})
PY
venv/bin/python apply.py | tee seen
diff seen - <<'SEEN'
delete in a: True
  git apply: {'config.yaml': 'keep\n'}
  patch-ng:  {'a/config.yaml': 'old\n'}
new in b: True
  git apply: {'b/config.yaml': 'new\n', 'readme': '1\n'}
  patch-ng:  {'config.yaml': 'new\n', 'readme': '1\n'}
new empty file: True
  git apply: {'agent/__init__.py': '', 'readme': '2\n'}
  patch-ng:  {'readme': '2\n'}
deleted empty file: True
  git apply: {'readme': '2\n'}
  patch-ng:  {'agent/__init__.py': '', 'readme': '2\n'}
no line end: True
  git apply: {'version': '2'}
  patch-ng:  {'version': '2\n'}
line end removed: True
  git apply: {'version': '1'}
  patch-ng:  {'version': '1\n'}
first lines: False
  git apply: {'notes': 'text\n', 'readme': '2\n'}
  patch-ng:  {'notes': '', 'readme': '2\n'}
SEEN
echo "as recorded: True, and other files"
