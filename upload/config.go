package upload

import (
	"encoding/json"
	"time"
)

// Config says where bundles go and how. Zero fields mean their default.
type Config struct {
	To          string // s3://BUCKET/PREFIX or file:///DIRECTORY
	Compression string // CompressionZstd (default), CompressionGzip or CompressionNone
	RateLimit   int64  // bytes a second sent to the store, 0 for no limit
	MaxBytes    int64  // of a directory store, 0 for the smaller of 10 GiB and 10 % of its disk; a store that is full takes nothing more
	S3          S3
	Notify      Notify

	Cluster string // for keys and manifests
	Node    string
}

// Compressions of captures.
const (
	CompressionZstd = "zstd"
	CompressionGzip = "gzip"
	CompressionNone = "none"
)

// S3 is everything about S3 that can be set. Zero fields leave the choice to the SDK.
type S3 struct {
	Endpoint     string // of an S3-compatible server, such as https://minio.example:9000
	Region       string
	PathStyle    bool              // bucket in the path, not in the host
	StorageClass string            // such as STANDARD_IA
	SSE          string            // "", AES256 or aws:kms
	KMSKey       string            // id or ARN, with aws:kms
	Tags         map[string]string // of every object
	Checksum     string            // CRC32 (default), CRC32C, SHA1, SHA256, CRC64NVME or none
	RoleARN      string            // to assume, by whatever credentials there are
	ExternalID   string            // for RoleARN
	CAFile       string            // certificates to trust, PEM
	PartSize     int64             // of multipart uploads, default 5 MiB; raised where an object would need more than 10,000 parts
	Concurrency  int               // parts at once, default 3
	Timeout      time.Duration     // without any progress, until a request is given up; default 30 s

	AccessKeyID     string // static credentials; default: the SDK's chain (environment, web identity, pod identity, instance role)
	SecretAccessKey Secret
	SessionToken    Secret
}

// Notify is a webhook that is told when a bundle is stored, or has failed for After.
type Notify struct {
	URL     Secret // its path often is the secret
	Headers map[string]Secret
	Format  string        // FormatJSON (default) or FormatSlack
	After   time.Duration // default 1 h
}

// Formats of notifications.
const (
	FormatJSON  = "json"
	FormatSlack = "slack"
)

// Secret is a value that is shown nowhere: not in logs, errors, JSON or by %v. string(s) is the value.
type Secret string

const hidden = "(hidden)"

// String hides the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// MarshalJSON hides the value.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }
