{{/* What the objects share. Names are cut so that the longest suffix fits into 63 characters; a Service has no dots. */}}

{{- define "holdfast.fullname" -}}
{{- $name := .Release.Name | replace "." "-" -}}
{{- if not (contains .Chart.Name $name) -}}
{{- $name = printf "%s-%s" $name .Chart.Name -}}
{{- end -}}
{{- $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that never change, which select. Takes (list root component). */}}
{{- define "holdfast.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels. Takes (list root component). */}}
{{- define "holdfast.labels" -}}
{{- $root := index . 0 -}}
{{ include "holdfast.selector" . }}
app.kubernetes.io/part-of: holdfast
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/*
What hardens every pod. Takes (list root user group).
Service links are off for another reason too: for a Service with the name "holdfast" they would set HOLDFAST_PORT.
*/}}
{{- define "holdfast.pod" -}}
{{- $root := index . 0 -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ int64 (index . 1) }}
  runAsGroup: {{ int64 (index . 2) }}
  seccompProfile:
    type: RuntimeDefault
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What hardens every container. */}}
{{- define "holdfast.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Where pods may run. Takes the values of a component. */}}
{{- define "holdfast.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "holdfast.serverImage" -}}
{{- with .Values.coordinator.image -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) | quote -}}
{{- end -}}
{{- end -}}

{{/* The URL of the database, never as a value. */}}
{{- define "holdfast.databaseEnv" -}}
- name: HOLDFAST_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.secretName | quote }}
      key: {{ .Values.database.secretKey | quote }}
{{- end -}}

{{/* Where the coordinators of this release are reached. */}}
{{- define "holdfast.coordinatorAddress" -}}
{{- printf "%s-coordinator.%s.svc:%d" (include "holdfast.fullname" .) .Release.Namespace (int .Values.coordinator.port) -}}
{{- end -}}

{{/* Annotations of the pods of coordinators: those of their values win. */}}
{{- define "holdfast.coordinatorAnnotations" -}}
{{- $annotations := dict -}}
{{- with .Values.telemetry.metrics -}}
{{- if and .port .scrapeAnnotations -}}
{{- $port := int .port | toString -}}
{{- $annotations = dict "prometheus.io/scrape" "true" "prometheus.io/port" $port "prometheus.io/path" "/metrics" -}}
{{- end -}}
{{- end -}}
{{- with merge (deepCopy .Values.coordinator.podAnnotations) $annotations -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.otlpEndpoint" -}}
{{- if .Values.telemetry.otlp.endpoint -}}
{{- .Values.telemetry.otlp.endpoint -}}
{{- else if .Values.jaeger.enabled -}}
{{- printf "http://%s-jaeger.%s.svc:4317" (include "holdfast.fullname" .) .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{/* The standard variables of OpenTelemetry; none when there is no collector. */}}
{{- define "holdfast.telemetryEnv" -}}
{{- with include "holdfast.otlpEndpoint" . -}}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $.Values.telemetry.sampling.ratio | toString | quote }}
{{- end -}}
{{- end -}}
