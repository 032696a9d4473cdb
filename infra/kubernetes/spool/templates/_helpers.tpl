{{/* The name of what belongs to a part: dict root, part. A pod's name is its instance's, which has 63 characters at the most. */}}
{{- define "spool.name" -}}
{{- $name := printf "%s-%s" .root.Release.Name .part -}}
{{- if gt (len $name) 46 -}}{{- fail (printf "%s is too long a name: 46 characters at the most" $name) -}}{{- end -}}
{{- $name -}}
{{- end -}}

{{/* By what a part's pods are found: dict root, part. */}}
{{- define "spool.selector" -}}
app.kubernetes.io/name: spool
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{/* dict root, part, version. */}}
{{- define "spool.labels" -}}
{{ include "spool.selector" . }}
app.kubernetes.io/version: {{ .version | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "spool.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* Of each pod: dict root, part. */}}
{{- define "spool.pod" -}}
automountServiceAccountToken: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  seccompProfile: { type: RuntimeDefault }
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "spool.selector" . | nindent 8 }}
{{- end -}}

{{- define "spool.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}

{{/* How a process reaches the platform, and how others reach it. */}}
{{- define "spool.env" -}}
- name: SPOOL_INSTANCE
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: POD_IP
  valueFrom: { fieldRef: { fieldPath: status.podIP } }
- name: SPOOL_ENDPOINT_URL
  value: http://$(POD_IP):8090
- name: SPOOL_CLUSTER_KEY
  valueFrom: { secretKeyRef: { name: {{ .Values.clusterKeySecretName }}, key: key } }
{{- if .Values.kafka.sasl.mechanism }}
- name: KAFKA_SASL_USERNAME
  valueFrom: { secretKeyRef: { name: {{ .Values.kafka.sasl.secretName }}, key: username } }
- name: KAFKA_SASL_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ .Values.kafka.sasl.secretName }}, key: password } }
{{- end }}
{{- end -}}

{{- define "spool.mounts" -}}
- { name: data, mountPath: /var/lib/spool }
- { name: tmp, mountPath: /tmp }
{{- if and .Values.kafka.tls.enabled .Values.kafka.tls.secretName }}
- { name: kafka-tls, mountPath: /etc/spool/kafka, readOnly: true }
{{- end }}
{{- end -}}

{{- define "spool.volumes" -}}
- name: data
  emptyDir: { sizeLimit: {{ .Values.data.sizeLimit }} }
- name: tmp
  emptyDir: {}
{{- if and .Values.kafka.tls.enabled .Values.kafka.tls.secretName }}
- name: kafka-tls
  secret: { secretName: {{ .Values.kafka.tls.secretName }} }
{{- end }}
{{- end -}}
