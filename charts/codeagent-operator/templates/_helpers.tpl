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
  verbs: [create, patch]
{{- end -}}

{{- define "codeagent-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "codeagent-operator.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end -}}
