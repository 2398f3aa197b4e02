#!/usr/bin/env bash
# With two files in KUBECONFIG, kubectl and the Python and JavaScript clients talk to different clusters.
#
# Expected: the rule of kubectl and client-go ("Organizing Cluster Access Using kubeconfig Files", section on
#   merging): the first file to set a value wins. For KUBECONFIG=dev:prod, each with its own current-context,
#   kubectl uses the context of the *first* file. A client library that reads the same variable should agree.
# Seen: the official Python client (also the asyncio one) and the official JavaScript client take current-context
#   from the *last* file. kr8s takes current-context from the first file, but for an entry that both files name
#   alike it takes the last one's cluster and user. lightkube does not split the list: it looks for one file of
#   that name.
# Versions: PyPI kubernetes 37.0.2, kubernetes_asyncio 36.1.0, kr8s 0.20.15, lightkube 1.0.1;
#   npm @kubernetes/client-node 1.4.0 (works on Node.js 20).
# What it means: a script that submits agent sessions through a client library may write to production while
#   `kubectl config current-context` in the same shell says development. Name the context explicitly.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

for name in dev prod; do
  cat > "$name" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: $name, cluster: {server: "https://$name.example:6443"}}]
users: [{name: $name, user: {token: token-of-$name}}]
contexts: [{name: $name, context: {cluster: $name, user: $name}}]
current-context: $name
YAML
done
# The same two files, but with entries of the same name.
for name in dev prod; do
  sed "s/name: $name/name: main/; s/cluster: $name/cluster: main/; s/user: $name/user: main/; s/current-context: .*/current-context: main/" \
    "$name" > "$name-same-name"
done

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  kubernetes==37.0.2 kubernetes_asyncio==36.1.0 kr8s==0.20.15 lightkube==1.0.1
npm install --silent --no-audit --no-fund --prefix "$work" @kubernetes/client-node@1.4.0

cat > look.py <<'PY'
import asyncio, os

def official():
    from kubernetes import config
    return config.new_client_from_config().configuration.host

def official_async():
    from kubernetes_asyncio import client, config
    asyncio.run(config.load_kube_config())
    return client.Configuration.get_default_copy().host

def kr8s_same_name():
    from kr8s._config import KubeConfigSet
    async def load():
        files = await KubeConfigSet("dev-same-name", "prod-same-name")
        return f"{files.get_cluster('main')['server']} with {files.get_user('main')['token']}"
    return asyncio.run(load())

def lightkube_list():
    from lightkube import KubeConfig
    from lightkube.core.exceptions import ConfigError
    try:
        return KubeConfig.from_env().get().cluster.server
    except ConfigError:
        return "no such file"

for read in (official, official_async, kr8s_same_name, lightkube_list):
    print(f"{read.__name__} {read()}")
PY
cat > look.mjs <<'JS'
import { KubeConfig } from '@kubernetes/client-node';
const config = new KubeConfig();
config.loadFromDefault();
console.log('javascript', config.getCurrentCluster().server);
JS

export KUBECONFIG="$work/dev:$work/prod"
if command -v kubectl > /dev/null; then
  kubectl_server=$(kubectl config view --minify -o jsonpath='{.clusters[0].cluster.server}')
  echo "kubectl $kubectl_server"
  [ "$kubectl_server" = https://dev.example:6443 ]
fi
{ venv/bin/python look.py; node look.mjs; } | tee seen
diff seen - <<'SEEN'
official https://prod.example:6443
official_async https://prod.example:6443
kr8s_same_name https://prod.example:6443 with token-of-prod
lightkube_list no such file
javascript https://prod.example:6443
SEEN
echo "as recorded: the last file decides in Python and JavaScript, the first one in kubectl"
