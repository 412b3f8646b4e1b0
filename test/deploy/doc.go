// Package deploy holds what lies in deploy/ to what it is for: manifests against the schemas of Kubernetes 1.34 (by
// kubeconform, without a network; schemas/ says where they are from) and against the program's own configuration,
// policies and lifecycle against their formats, alert rules against promtool and a running recorder's metrics.
package deploy
