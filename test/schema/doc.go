// Package schema holds what Ringside writes as JSON to the published schemas, which are made from the types and their
// comments: manifests to upload/manifest.schema.json, reports and certificates to evidence/*.schema.json.
package schema
