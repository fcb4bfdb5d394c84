{{- define "sglr.server" -}}
{{ .Values.server.address | default (printf "%s-server:%v" .Release.Name .Values.server.port) }}
{{- end }}

{{- define "sglr.labels" -}}
app.kubernetes.io/name: sglr
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* As in compose.yaml: no root, nothing to write to but volumes, no rights, no account of the cluster's. */}}
{{- define "sglr.pod" -}}
automountServiceAccountToken: false
terminationGracePeriodSeconds: 60
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "sglr.container" -}}
securityContext:
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
{{- end }}
