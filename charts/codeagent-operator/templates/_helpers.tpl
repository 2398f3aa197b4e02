{{/* Objects are named after the release, which says the chart's name already in the usual case. */}}
{{- define "codeagent-operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- /* Room for the longest suffix within a label's 63 characters. */ -}}
{{- $full | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects the Pod. It can never change for a Deployment that exists. */}}
{{- define "codeagent-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Those of the user's own come first, so that they cannot replace what the selectors look for. */}}
{{- define "codeagent-operator.labels" -}}
{{- $standard := include "codeagent-operator.selectorLabels" . | fromYaml -}}
{{- $_ := set $standard "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $standard "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $standard "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- mergeOverwrite (deepCopy .Values.commonLabels) $standard | toYaml -}}
{{- end -}}

{{- define "codeagent-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "codeagent-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "codeagent-operator.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{- /* A number from a values file is a float, which would be printed as 2.026113e+07. */ -}}
{{- $tag := .Values.image.tag -}}
{{- $tag = ternary $tag (int64 $tag) (kindIs "string" $tag) -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion $tag }}
{{- end -}}
{{- end -}}

{{/* "configMap" or "secret", or nothing where there is no CA bundle. */}}
{{- define "codeagent-operator.caBundleKind" -}}
{{- $bundle := .Values.caBundle -}}
{{- if and $bundle.configMap.name $bundle.secret.name -}}
{{- fail "caBundle: set configMap.name or secret.name, not both" -}}
{{- end -}}
{{- if $bundle.configMap.name }}configMap{{ else if $bundle.secret.name }}secret{{ end -}}
{{- end -}}

{{/* How providers are reached: proxies and certificate authorities. */}}
{{- define "codeagent-operator.networkEnv" -}}
{{- $proxy := .Values.proxy -}}
{{- if and $proxy.https $proxy.httpsSecret.name -}}
{{- fail "proxy: set https or httpsSecret.name, not both" -}}
{{- end -}}
{{- with $proxy.http }}
- name: HTTP_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with $proxy.https }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
{{- if $proxy.httpsSecret.name }}
- name: HTTPS_PROXY
  valueFrom:
    secretKeyRef:
      name: {{ $proxy.httpsSecret.name | quote }}
      key: {{ $proxy.httpsSecret.key | quote }}
{{- end }}
{{- if or $proxy.http $proxy.https $proxy.httpsSecret.name }}
- name: NO_PROXY
  # The kubelet fills in the API server's address.
  value: {{ append $proxy.noProxy "$(KUBERNETES_SERVICE_HOST)" | join "," | quote }}
{{- end }}
{{- if include "codeagent-operator.caBundleKind" . }}
- name: CODEAGENT_CA_BUNDLE
  value: /etc/codeagent-operator/ca-bundle/ca.crt
{{- end }}
{{- end -}}

{{- define "codeagent-operator.caBundleMount" -}}
- name: ca-bundle
  mountPath: /etc/codeagent-operator/ca-bundle
  readOnly: true
{{- end -}}

{{/* A bundle or a key of it that is missing keeps the Pod from starting, which says so in its events. */}}
{{- define "codeagent-operator.caBundleVolume" -}}
{{- $kind := include "codeagent-operator.caBundleKind" . -}}
{{- $source := get .Values.caBundle $kind -}}
- name: ca-bundle
  {{ $kind }}:
    {{ ternary "secretName" "name" (eq $kind "secret") }}: {{ $source.name | quote }}
    items:
      - key: {{ $source.key | quote }}
        path: ca.crt
{{- end -}}

{{/* All that the operator does in a namespace that it serves. Secrets are read by name only, never listed. */}}
{{- define "codeagent-operator.rules" -}}
# patch: the finalizer of those that have a template at their provider.
- apiGroups: [codeagents.dev]
  resources: [codeagents]
  verbs: [get, list, watch, patch]
- apiGroups: [codeagents.dev]
  resources: [codeagents/status]
  verbs: [patch]
# patch: the finalizer. delete: ttlSecondsAfterFinished.
- apiGroups: [codeagents.dev]
  resources: [codesessions]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [codeagents.dev]
  resources: [codesessions/status]
  verbs: [patch]
# Credentials, prompts, images and environments that a CodeAgent or CodeSession names.
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* What running agents as Jobs needs besides. */}}
{{- define "codeagent-operator.jobRules" -}}
# create: one Job for each session. patch: a stop suspends it. delete: archiving.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, get, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
# The Secret with a Job's task. get is granted above.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, patch, delete]
{{- end -}}

{{- define "codeagent-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "codeagent-operator.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end -}}

{{/* Where the admission policies apply: in the namespaces that are served. */}}
{{- define "codeagent-operator.policyScope" -}}
{{- if .Values.watchNamespaces -}}
matchResources:
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values:
          {{- toYaml .Values.watchNamespaces | nindent 10 }}
{{- end -}}
{{- end -}}

{{/* The version of MutatingAdmissionPolicy that the cluster serves, or nothing. */}}
{{- define "codeagent-operator.mutatingPolicies" -}}
{{- range list "v1" "v1beta1" -}}
{{- if $.Capabilities.APIVersions.Has (printf "admissionregistration.k8s.io/%s/MutatingAdmissionPolicy" .) -}}
admissionregistration.k8s.io/{{ . }}
{{- break -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* CEL: the names of all Secrets that a CodeAgent or a CodeSession names. */}}
{{- define "codeagent-operator.secretsOf" -}}
(has({{ . }}.spec.credentials) ? [{{ . }}.spec.credentials.secretRef.name] : []) +
(has({{ . }}.spec.webhook) && has({{ . }}.spec.webhook.secretRef) ? [{{ . }}.spec.webhook.secretRef.name] : []) +
(has({{ . }}.spec.envFrom) ? {{ . }}.spec.envFrom.map(it, it.secretRef.name) : []) +
(has({{ . }}.spec.provider) && has({{ . }}.spec.provider.job) && has({{ . }}.spec.provider.job.env) ? {{ . }}.spec.provider.job.env.filter(it, has(it.secretKeyRef)).map(it, it.secretKeyRef.name) : []) +
(has({{ . }}.spec.provider) && has({{ . }}.spec.provider.job) && has({{ . }}.spec.provider.job.envFrom) ? {{ . }}.spec.provider.job.envFrom.map(it, it.secretRef.name) : []) +
(has({{ . }}.spec.provider) && has({{ . }}.spec.provider.job) && has({{ . }}.spec.provider.job.imagePullSecrets) ? {{ . }}.spec.provider.job.imagePullSecrets.map(it, it.name) : []) +
(has({{ . }}.spec.provider) && has({{ . }}.spec.provider.job) && has({{ . }}.spec.provider.job.git) && has({{ . }}.spec.provider.job.git.secretRef) ? [{{ . }}.spec.provider.job.git.secretRef.name] : []) +
(has({{ . }}.spec.promptFrom) && has({{ . }}.spec.promptFrom.secretKeyRef) ? [{{ . }}.spec.promptFrom.secretKeyRef.name] : []) +
(has({{ . }}.spec.images) ? {{ . }}.spec.images.filter(it, has(it.secretKeyRef)).map(it, it.secretKeyRef.name) : []) +
(has({{ . }}.spec.messages) ? {{ . }}.spec.messages.filter(it, has(it.promptFrom) && has(it.promptFrom.secretKeyRef)).map(it, it.promptFrom.secretKeyRef.name) : [])
{{- /* A message has at most five images, and CEL in admission policies has no way to flatten lists everywhere. */ -}}
{{- $object := . -}}
{{- range $image := until 5 }} +
(has({{ $object }}.spec.messages) ? {{ $object }}.spec.messages.filter(it, has(it.images) && it.images.size() > {{ $image }} && has(it.images[{{ $image }}].secretKeyRef)).map(it, it.images[{{ $image }}].secretKeyRef.name) : [])
{{- end -}}
{{- end -}}

{{/*
Fails if another release serves the same sessions: both would watch, launch and stop them. Without a cluster (helm template) nothing is
found. "kind" is that of the role which the other release would have, in "namespace".
*/}}
{{- define "codeagent-operator.refuseSecond" -}}
{{- range (lookup "rbac.authorization.k8s.io/v1" .kind .namespace "").items -}}
{{- $labels := default dict .metadata.labels -}}
{{- $annotations := default dict .metadata.annotations -}}
{{- $release := get $annotations "meta.helm.sh/release-name" -}}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" -}}
{{- if and (hasKey $labels "codeagents.dev/serves") $release (not (and (eq $release $.release.Name) (eq $namespace $.release.Namespace))) -}}
{{- fail (printf "the release %s in the namespace %s serves %s already: upgrade or uninstall that one, or set watchNamespaces to others" $release $namespace $.served) -}}
{{- end -}}
{{- end -}}
{{- end -}}
