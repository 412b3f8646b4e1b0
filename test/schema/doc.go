// Package schema holds bundles' manifests to their published JSON schema, upload/manifest.schema.json, which is made
// from the types in package upload and their comments.
package schema
