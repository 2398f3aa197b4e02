#!/usr/bin/env bash
# The repository of a pull request URL: five Git URL parsers, five answers, and the usual one is wrong.
#
# Expected: a parser that understands web URLs finds org/repo in https://github.com/org/repo/pull/12, as npm
#   git-url-parse does for …/issues/12 and …/commit/abc; a parser that does not understand it says so.
# Seen: npm git-url-parse gives the owner "org/repo/pull" and the repository "12"; PyPI git-url-parse gives "pull" and
#   "12". hosted-git-info and PyPI giturlparse refuse it; parse-github-url has the repository, and the branch "pull".
#   For a GitLab merge request npm git-url-parse is right, giturlparse calls it valid, with the repository "3".
#   A slash at the end makes PyPI git-url-parse answer owner "repo" and no name.
# Versions: npm git-url-parse 16.1.0, hosted-git-info 8.1.0, parse-github-url 1.0.4; PyPI git-url-parse 1.2.2,
#   giturlparse 0.16.0 (both install a module `giturlparse`: never put them into one environment).
# What it means: coding agents answer with a pull request URL. A tool that derives "which repository?" from it for an
#   allow list, a label or a follow-up session compares with a repository that does not exist. Ask the forge's API.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv one
one/bin/pip install --quiet --disable-pip-version-check git-url-parse==1.2.2
python3 -m venv two
two/bin/pip install --quiet --disable-pip-version-check giturlparse==0.16.0
npm install --silent --no-audit --no-fund --prefix "$work" git-url-parse@16.1.0 hosted-git-info@8.1.0 parse-github-url@1.0.4

cat > parse.mjs <<'JS'
import gitUrlParse from 'git-url-parse';
import hosted from 'hosted-git-info';
import parseGithub from 'parse-github-url';
for (const url of process.argv.slice(2)) {
  const one = gitUrlParse(url), two = hosted.fromUrl(url), three = parseGithub(url);
  console.log(url);
  console.log('  npm git-url-parse:', one.owner, one.name);
  console.log('  hosted-git-info:', two ? `${two.user} ${two.project}` : 'refused');
  if (url.includes('github.com')) console.log('  parse-github-url:', three.owner, three.name, 'branch', three.branch);
}
JS
cat > parse.py <<'PY'
import sys
import giturlparse
library = sys.argv[1]
for url in sys.argv[2:]:
    parsed = giturlparse.parse(url)
    if library == "giturlparse":
        print(library, url, f"{parsed.owner} {parsed.repo}" if parsed.valid else "refused")
    else:
        print(library, url, parsed.owner, parsed.name)
PY
pull=https://github.com/org/repo/pull/12
merge=https://gitlab.com/group/team/repo/-/merge_requests/3
{
  node parse.mjs "$pull" https://github.com/org/repo/issues/12 "$merge"
  one/bin/python parse.py git-url-parse "$pull" https://github.com/org/repo https://github.com/org/repo/
  two/bin/python parse.py giturlparse "$pull" "$merge"
} | tee seen
diff seen - <<'SEEN'
https://github.com/org/repo/pull/12
  npm git-url-parse: org/repo/pull 12
  hosted-git-info: refused
  parse-github-url: org repo branch pull
https://github.com/org/repo/issues/12
  npm git-url-parse: org repo
  hosted-git-info: refused
  parse-github-url: org repo branch issues
https://gitlab.com/group/team/repo/-/merge_requests/3
  npm git-url-parse: group/team repo
  hosted-git-info: refused
git-url-parse https://github.com/org/repo/pull/12 pull 12
git-url-parse https://github.com/org/repo org repo
git-url-parse https://github.com/org/repo/ repo None
giturlparse https://github.com/org/repo/pull/12 refused
giturlparse https://gitlab.com/group/team/repo/-/merge_requests/3 group 3
SEEN
echo "as recorded: a pull request URL names a repository called 12"
