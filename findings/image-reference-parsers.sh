#!/usr/bin/env bash
# Parsers of image references move `localhost/agent` to Docker Hub and write digests as tags.
#
# Expected: the grammar of github.com/distribution/reference, which containerd, Docker and the kubelet use: a first part
#   is a registry if it has a dot or a colon or is `localhost`; `library/` belongs to Docker Hub only; a digest follows
#   `@`, also behind a tag.
# Seen: npm docker-parse-image puts `library/` in front of a repository on a private registry, writes a digest as
#   `agent:sha256:…`, which is no reference, joins tag and digest into one "tag", takes `localhost` for a Docker Hub
#   user, and the `a` of a/b/c for a registry. PyPI oras sends localhost/agent:v1 to docker.io. PyPI docker-image-py
#   agrees with the reference on all of these.
# Versions: npm docker-parse-image 3.0.1; PyPI oras 0.2.43, docker-image-py 0.2.0; judge: Go
#   github.com/distribution/reference 0.6.0.
# What it means: a mirror, a pull-through cache or an inventory of the images of agent Pods made with them has another image
#   than the kubelet pulls (kind and podman users do have localhost/…; pinned Pods do have tag@digest).
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check oras==0.2.43 docker-image-py==0.2.0
npm install --silent --no-audit --no-fund --prefix "$work" docker-parse-image@3.0.1

digest=sha256:$(printf 'a%.0s' {1..64})
printf '%s\n' agent localhost/agent:v1 localhost:5000/agent reg.example/agent:v1 a/b/c:1 \
  "reg.example/agent@$digest" "reg.example/org/agent:v1@$digest" > references

mkdir judge && cd judge
cat > go.mod <<'MOD'
module judge

go 1.26.0

require github.com/distribution/reference v0.6.0
MOD
cat > main.go <<'GO'
package main

import (
	"bufio"
	_ "crypto/sha256"
	"fmt"
	"os"

	"github.com/distribution/reference"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		named, err := reference.ParseNormalizedNamed(lines.Text())
		if err != nil {
			panic(err)
		}
		fmt.Printf("reference %s: %s\n", lines.Text(), reference.TagNameOnly(named))
	}
}
GO
go mod tidy > /dev/null 2>&1
go build -o ../judge-references .
cd ..
cat > parse.mjs <<'JS'
import parse from 'docker-parse-image';
import { readFileSync } from 'node:fs';
for (const line of readFileSync('references', 'utf8').trim().split('\n')) {
  const { registry, fullname, tag } = parse(line);
  console.log(`docker-parse-image ${line}: ${fullname} (registry ${registry}, tag ${tag})`);
}
JS
cat > parse.py <<'PY'
from docker_image.reference import Reference
from oras.container import Container

for line in open("references").read().split():
    parsed = Reference.parse_normalized_named(line)
    print(f"docker-image-py {line}: {parsed.string()}")
for line in open("references").read().split():
    print(f"oras {line}: {Container(line).uri}")
PY

{ ./judge-references < references; venv/bin/python parse.py; node parse.mjs; } | sed "s/a\{64\}/DIGEST/g" | tee seen
diff seen - <<'SEEN'
reference agent: docker.io/library/agent:latest
reference localhost/agent:v1: localhost/agent:v1
reference localhost:5000/agent: localhost:5000/agent:latest
reference reg.example/agent:v1: reg.example/agent:v1
reference a/b/c:1: docker.io/a/b/c:1
reference reg.example/agent@sha256:DIGEST: reg.example/agent@sha256:DIGEST
reference reg.example/org/agent:v1@sha256:DIGEST: reg.example/org/agent:v1@sha256:DIGEST
docker-image-py agent: docker.io/library/agent
docker-image-py localhost/agent:v1: localhost/agent:v1
docker-image-py localhost:5000/agent: localhost:5000/agent
docker-image-py reg.example/agent:v1: reg.example/agent:v1
docker-image-py a/b/c:1: docker.io/a/b/c:1
docker-image-py reg.example/agent@sha256:DIGEST: reg.example/agent@sha256:DIGEST
docker-image-py reg.example/org/agent:v1@sha256:DIGEST: reg.example/org/agent:v1@sha256:DIGEST
oras agent: docker.io/agent:latest
oras localhost/agent:v1: docker.io/localhost/agent:v1
oras localhost:5000/agent: localhost:5000/agent:latest
oras reg.example/agent:v1: reg.example/agent:v1
oras a/b/c:1: docker.io/a/b/c:1
oras reg.example/agent@sha256:DIGEST: reg.example/agent@sha256:DIGEST
oras reg.example/org/agent:v1@sha256:DIGEST: reg.example/org/agent@sha256:DIGEST
docker-parse-image agent: library/agent:latest (registry null, tag null)
docker-parse-image localhost/agent:v1: localhost/agent:v1 (registry null, tag v1)
docker-parse-image localhost:5000/agent: localhost:5000/library/agent:latest (registry localhost:5000, tag null)
docker-parse-image reg.example/agent:v1: reg.example/library/agent:v1 (registry reg.example, tag v1)
docker-parse-image a/b/c:1: a/b/c:1 (registry a, tag 1)
docker-parse-image reg.example/agent@sha256:DIGEST: reg.example/library/agent:sha256:DIGEST (registry reg.example, tag sha256:DIGEST)
docker-parse-image reg.example/org/agent:v1@sha256:DIGEST: reg.example/org/agent:v1@sha256:DIGEST (registry reg.example, tag v1@sha256:DIGEST)
SEEN
echo "as recorded: three parsers, three images"
