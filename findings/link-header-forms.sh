#!/usr/bin/env bash
# Paging stops at page one: a much used Link parser does not know the upper-case and spaced forms of `rel`.
#
# Expected: RFC 8288: parameter names are case-insensitive, white space may stand around "=" (section 3, appendix B), and
#   of two `rel` the later ones are ignored (section 3.3). http-link-header says it parses that RFC.
# Seen: parse-link-header and its two forks on npm find no relation at all in `REL="next"` and in `rel = "next"`: the
#   answer is {}, the same as for the last page. Of two `rel` they take the last. http-link-header is right in all three.
# Versions: npm parse-link-header 2.0.0, @web3-storage/parse-link-header 3.1.0, @renyuneyun/parse-link-header-ts 2.0.0,
#   http-link-header 1.1.4.
# What it means: "list all agent sessions" returns the first page and no error behind a proxy or a provider that writes
#   the header in its own way. Compare with the count that the API reports.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" parse-link-header@2.0.0 @web3-storage/parse-link-header@3.1.0 \
  @renyuneyun/parse-link-header-ts@2.0.0 http-link-header@1.1.4
cat > links.mjs <<'JS'
import one from 'parse-link-header';
import { parseLinkHeader as two } from '@web3-storage/parse-link-header';
import * as three from '@renyuneyun/parse-link-header-ts';
import links from 'http-link-header';

const libraries = {
  'parse-link-header': (header) => Object.keys(one(header)),
  '@web3-storage': (header) => Object.keys(two(header)),
  '@renyuneyun': (header) => Object.keys((three.parseLinkHeader ?? three.default)(header)),
  'http-link-header': (header) => ['next', 'last'].filter((rel) => links.parse(header).rel(rel).length),
};
const url = '<https://api.example/sessions?page=2>';
for (const header of [`${url}; rel="next"`, `${url}; REL="next"`, `${url} ; rel = "next"`, `${url}; rel="next"; rel="last"`]) {
  console.log(header.slice(url.length));
  for (const library in libraries) console.log(' ', library, libraries[library](header).join(' ') || 'nothing');
}
JS
node links.mjs | tee seen
diff seen - <<'SEEN'
; rel="next"
  parse-link-header next
  @web3-storage next
  @renyuneyun next
  http-link-header next
; REL="next"
  parse-link-header nothing
  @web3-storage nothing
  @renyuneyun nothing
  http-link-header next
 ; rel = "next"
  parse-link-header nothing
  @web3-storage nothing
  @renyuneyun nothing
  http-link-header next
; rel="next"; rel="last"
  parse-link-header last
  @web3-storage last
  @renyuneyun last
  http-link-header next
SEEN
echo "as recorded: valid forms of the header look like the last page"
