// Command schemas makes the JSON schemas beside it, by which kubeconform checks deploy/kubernetes, from the OpenAPI
// definitions of Kubernetes (Apache-2.0): without descriptions, and strict.
//
// usage: go run ./deploy/schemas SWAGGER.JSON      (api/openapi-spec/swagger.json of the module k8s.io/kubernetes)
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// kinds are what deploy/kubernetes has, each with its definition.
var kinds = map[string]string{
	"namespace-v1":                "io.k8s.api.core.v1.Namespace",
	"serviceaccount-v1":           "io.k8s.api.core.v1.ServiceAccount",
	"configmap-v1":                "io.k8s.api.core.v1.ConfigMap",
	"secret-v1":                   "io.k8s.api.core.v1.Secret",
	"daemonset-apps-v1":           "io.k8s.api.apps.v1.DaemonSet",
	"priorityclass-scheduling-v1": "io.k8s.api.scheduling.v1.PriorityClass",
}

type object = map[string]any

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./deploy/schemas SWAGGER.JSON")
		os.Exit(2)
	}
	if err := generate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func generate(swagger string) error {
	text, err := os.ReadFile(swagger)
	if err != nil {
		return err
	}
	var spec struct{ Definitions map[string]object }
	if err := json.Unmarshal(text, &spec); err != nil {
		return err
	}
	for name, definition := range kinds {
		used := object{}
		collect(spec.Definitions, definition, used)
		schema := object{"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/definitions/" + definition, "definitions": used}
		out, err := json.Marshal(schema)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join("deploy", "schemas", name+".json"), append(out, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// collect puts the definition, and all that it refers to, into used.
func collect(all map[string]object, name string, used object) {
	if used[name] != nil {
		return
	}
	switch {
	case strings.HasSuffix(name, ".IntOrString"), strings.HasSuffix(name, ".Quantity"):
		used[name] = object{"type": []string{"string", "number"}}
		return
	}
	d := object{"type": all[name]["type"]}
	used[name] = d
	for _, key := range []string{"required", "enum", "format"} {
		if v := all[name][key]; v != nil {
			d[key] = v
		}
	}
	properties, ok := all[name]["properties"].(object)
	if !ok {
		return
	}
	stripped := object{}
	for key, p := range properties {
		stripped[key] = strip(p, func(ref string) { collect(all, ref, used) })
	}
	d["properties"], d["additionalProperties"] = stripped, false
}

// strip leaves of a property what says something about its value, and hands its references to follow.
func strip(v any, follow func(string)) any {
	p, ok := v.(object)
	if !ok {
		return v
	}
	out := object{}
	for key, value := range p {
		switch key {
		case "$ref":
			follow(strings.TrimPrefix(value.(string), "#/definitions/"))
			out[key] = value
		case "type", "enum", "format":
			out[key] = value
		case "items", "additionalProperties":
			out[key] = strip(value, follow)
		}
	}
	return out
}
