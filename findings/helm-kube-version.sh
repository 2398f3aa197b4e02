#!/usr/bin/env bash
# On a GKE or EKS version, Helm's `kubeVersion` and `semverCompare` give opposite answers to the same range.
#
# Expected: one range, one answer. Managed clusters report versions such as v1.33.2-gke.100; for SemVer that is a
#   pre-release, which is why charts write `>=1.33.0-0` instead of `>=1.33.0` to be installable there.
# Seen: Helm 4 cuts the suffix off before it looks at Chart.yaml's kubeVersion, so `>=1.33.0` is fine there, but a
#   template's `semverCompare ">=1.33.0" .Capabilities.KubeVersion.Version`, which the documentation recommends, is
#   false: the chart installs and leaves out what it wraps. `.Capabilities.KubeVersion` printed alone has no suffix
#   either. So an alpha of 1.34.0 satisfies `kubeVersion: ">=1.34.0"`.
#   npm semver (and PyPI semantic-version's NpmSpec) refuse GKE's version even for `>=1.33.0-0`, because the -0 counts
#   only for 1.33.0 itself; semantic-version's SimpleSpec accepts it with and without -0.
# Versions: Helm 4.3.1; npm semver 7.8.6, PyPI semantic-version 2.10.0.
# What it means: guard features in templates of an agent chart with `-0` or with .Capabilities.APIVersions, and do not
#   check a chart's range against a cluster in Node.js or Python.
# Needs Helm 4.3.1: `helm` on the path, or its path in the variable HELM.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
helm=${HELM:-helm}
case $("$helm" version --short) in v4.3.1*) ;; *) echo "needs Helm 4.3.1"; exit 2 ;; esac
cd "$work"

npm install --silent --no-audit --no-fund --prefix "$work" semver@7.8.6
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check semantic-version==2.10.0

cat > others.mjs <<'JS'
import semver from 'semver';
console.log(`npm semver ${semver.satisfies(process.argv[3], process.argv[2])}`);
JS
cat > others.py <<'PY'
import sys
from semantic_version import NpmSpec, SimpleSpec, Version
version = Version(sys.argv[2].removeprefix("v"))
print(f"NpmSpec {NpmSpec(sys.argv[1]).match(version)}, SimpleSpec {SimpleSpec(sys.argv[1]).match(version)}".lower())
PY
mkdir -p chart/templates
check() {
  printf 'apiVersion: v2\nname: agent\nversion: 0.1.0\n' > chart/Chart.yaml
  echo "compare: {{ semverCompare \"$1\" .Capabilities.KubeVersion.Version }}" > chart/templates/compare.yaml
  compare=$("$helm" template agent chart --kube-version "$2" | sed -n 's/^compare: //p')
  echo "kubeVersion: \"$1\"" >> chart/Chart.yaml
  if "$helm" template agent chart --kube-version "$2" > /dev/null 2> refused; then chart=true
  else grep -q "which is incompatible with Kubernetes" refused; chart=false; fi
  echo "$1 on $2: kubeVersion $chart, semverCompare $compare, $(node others.mjs "$1" "$2"), $(venv/bin/python others.py "$1" "$2")"
}
{
  check '>=1.33.0' v1.33.2
  check '>=1.33.0' v1.33.2-gke.100
  check '>=1.33.0-0' v1.33.2-gke.100
  check '>=1.33.0' v1.33.2+k3s1
  check '>=1.34.0' v1.34.0-alpha.1
} | tee seen
diff seen - <<'SEEN'
>=1.33.0 on v1.33.2: kubeVersion true, semverCompare true, npm semver true, npmspec true, simplespec true
>=1.33.0 on v1.33.2-gke.100: kubeVersion true, semverCompare false, npm semver false, npmspec false, simplespec true
>=1.33.0-0 on v1.33.2-gke.100: kubeVersion true, semverCompare true, npm semver false, npmspec false, simplespec true
>=1.33.0 on v1.33.2+k3s1: kubeVersion true, semverCompare true, npm semver true, npmspec true, simplespec true
>=1.34.0 on v1.34.0-alpha.1: kubeVersion true, semverCompare false, npm semver false, npmspec false, simplespec false
SEEN
echo "as recorded: kubeVersion and semverCompare disagree on a vendor's version"
