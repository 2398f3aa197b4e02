#!/usr/bin/env bash
# CODEOWNERS: of three much used npm parsers none finds the owners that GitHub finds.
#
# Expected: as GitHub documents the file. `docs/*` owns docs/getting-started.md "but not further nested files like
#   docs/build-app/troubleshooting.md"; "CODEOWNERS paths are case sensitive"; a comment may follow on the line of a rule;
#   `[ ]` for a range of characters does not work.
# Seen: codeowners and codeowners-utils give docs/* all nested files. All three match without regard to case, the default
#   of the gitignore library below them. codeowners takes the words of a comment for owners, @snyk/github-codeowners
#   refuses the whole file for one. codeowners-utils and @snyk/github-codeowners obey `[12]`.
# Versions: npm codeowners 5.1.1, codeowners-utils 1.0.2, @snyk/github-codeowners 1.1.0.
# What it means: a step that asks for the owners of what an agent has changed asks the wrong team, or takes a change for
#   owned, hence reviewed, that GitHub lets pass without any review. Ask GitHub who has to review.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" \
  codeowners@5.1.1 codeowners-utils@1.0.2 @snyk/github-codeowners@1.1.0
mkdir repository
cat > owners.mjs <<'JS'
import { OwnershipEngine } from '@snyk/github-codeowners/dist/lib/ownership/OwnershipEngine.js';
import Codeowners from 'codeowners';
import { matchFile, parse } from 'codeowners-utils';
import { writeFileSync } from 'node:fs';

console.error = () => {}; // the refused file is reported below
const rules = [
  ['docs/*  @docs', 'docs/getting-started.md', '@docs'],
  ['docs/*  @docs', 'docs/build-app/troubleshooting.md', 'none'],
  ['/deploy/  @operators', 'Deploy/notes.txt', 'none'],
  ['*.js  @js-owner #an inline comment', 'a.js', '@js-owner'],
  ['/v[12]/  @api', 'v1/a.proto', 'none'],
];
for (const [rule, file, github] of rules) {
  writeFileSync('repository/CODEOWNERS', `${rule}\n`);
  const ask = (owners) => {
    try { return owners()?.join(' ') || 'none'; } catch (error) { return `Error: ${error.message.split(' in ')[0]}`; }
  };
  console.log(`${rule} | ${file}: GitHub ${github}`);
  console.log('  codeowners:', ask(() => new Codeowners('repository').getOwner(file)));
  console.log('  codeowners-utils:', ask(() => matchFile(file, parse(rule))?.owners));
  console.log('  @snyk/github-codeowners:',
    ask(() => OwnershipEngine.FromCodeownersFile('repository/CODEOWNERS').calcFileOwnership(file)));
}
JS
node owners.mjs | tee seen
diff seen - <<'SEEN'
docs/*  @docs | docs/getting-started.md: GitHub @docs
  codeowners: @docs
  codeowners-utils: @docs
  @snyk/github-codeowners: @docs
docs/*  @docs | docs/build-app/troubleshooting.md: GitHub none
  codeowners: @docs
  codeowners-utils: @docs
  @snyk/github-codeowners: none
/deploy/  @operators | Deploy/notes.txt: GitHub none
  codeowners: @operators
  codeowners-utils: @operators
  @snyk/github-codeowners: @operators
*.js  @js-owner #an inline comment | a.js: GitHub @js-owner
  codeowners: @js-owner #an inline comment
  codeowners-utils: @js-owner
  @snyk/github-codeowners: Error: #an is not a valid owner name
/v[12]/  @api | v1/a.proto: GitHub none
  codeowners: none
  codeowners-utils: @api
  @snyk/github-codeowners: @api
SEEN
echo "as recorded: three parsers, four differences"
