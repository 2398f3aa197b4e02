#!/usr/bin/env bash
# codex-apply-patch: a patch that it generates does not lead to the text that it was generated for.
#
# Expected: generate_patch(path, original, new) and apply_patch_in_memory(patch, {path: original}) are documented side
#   by side; applied to the original, the patch gives the new text, or generating it fails.
# Seen: of the blank lines at the end of a file one is always lost, so adding one changes nothing, and a change of the
#   line before them takes one away. A file with CR LF comes out with LF in all lines, also those that the patch does
#   not touch. A new text without a line end gets one. The answer lists the file as modified in each case, also if
#   nothing has changed.
# Version: PyPI codex-apply-patch 0.4.0 (a fork of the tool inside Codex).
# What it means: a harness that lets an agent answer in this patch format, or stores changes in it, commits other bytes
#   than were meant: whole-file diffs for CR LF, failing "ends with a blank line" fixtures. Compare the result with the
#   intended text where both are known, and move text by git's own diffs.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check codex-apply-patch==0.4.0
cat > round_trip.py <<'PY'
import codex_apply_patch

for title, original, new in [
    ("changed line", "one\ntwo\nthree\n", "one\n2\nthree\n"),
    ("appended line", "one\n", "one\ntwo\n"),
    ("deleted text", "one\n", ""),
    ("blank line added at the end", "one\n\n", "one\n\n\n"),
    ("line before the last blank line", "one\n\n", "1\n\n"),
    ("CR LF, second line changed", "one\r\ntwo\r\nthree\r\n", "one\r\n2\r\nthree\r\n"),
    ("no line end", "one\ntwo", "one\n2"),
    ("line end removed", "one\n", "one"),
]:
    patch = codex_apply_patch.generate_patch("notes.txt", original, new)
    result = codex_apply_patch.apply_patch_in_memory(patch, {"notes.txt": original})
    seen = result.files["notes.txt"]
    print(f"{title}: {'as meant' if seen == new else f'{seen!r}, not {new!r}'}, modified {len(result.modified)}")
PY
venv/bin/python round_trip.py | tee seen
diff seen - <<'SEEN'
changed line: as meant, modified 1
appended line: as meant, modified 1
deleted text: as meant, modified 1
blank line added at the end: 'one\n\n', not 'one\n\n\n', modified 1
line before the last blank line: '1\n', not '1\n\n', modified 1
CR LF, second line changed: 'one\n2\nthree\n', not 'one\r\n2\r\nthree\r\n', modified 1
no line end: 'one\n2\n', not 'one\n2', modified 1
line end removed: 'one\n', not 'one', modified 1
SEEN
echo "as recorded: other texts"
