package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ringside/ringside/upload"
)

// s3 reads upload.s3. auto leaves the choice to the SDK or the bucket. The least part is S3's own; parts are memory.
func (d *decoder) s3(n *yaml.Node, path string, s *upload.S3) {
	before := len(d.problems)
	d.object(n, path,
		field{"endpoint", d.optional("auto", &s.Endpoint, d.scalar(func(v string) error { return set(&s.Endpoint)(parseEndpoint(v)) }))},
		field{"region", d.word("auto", &s.Region, regionName, "is no region: write one such as eu-central-1, or auto")},
		field{"path_style", d.flag(&s.PathStyle)},
		field{"storage_class", d.storageClass(&s.StorageClass)},
		field{"sse", d.optional("auto", &s.SSE, d.choice(&s.SSE, "AES256", sseKMS))},
		field{"kms_key", d.word("auto", &s.KMSKey, kmsKey, "is no key: write its id, ARN, or alias/NAME, or auto")},
		field{"tags", func(n *yaml.Node, path string) { d.tags(n, path, &s.Tags) }},
		field{"role_arn", d.word("none", &s.RoleARN, roleARN, "is no role: write arn:aws:iam::ACCOUNT:role/NAME, or none")},
		field{"external_id", d.word("none", &s.ExternalID, externalID, "is no external id: write the 2 to 1000 characters that the role's trust policy asks for, or none")},
		field{"checksum", d.choice(&s.Checksum, "CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME", "none")},
		field{"ca_file", d.optional("none", &s.CAFile, d.path(&s.CAFile))},
		field{"part_size", d.size(&s.PartSize, 5<<20, 128<<20)},
		field{"concurrency", d.count(&s.Concurrency, 1, 16)},
		field{"timeout", d.duration(&s.Timeout, time.Second, 10*time.Minute)},
		field{"access_key_id", d.word("auto", &s.AccessKeyID, accessKey, "is no access key id: write the one that belongs to secret_access_key, or auto")},
		field{"secret_access_key", d.secret("auto", &s.SecretAccessKey, checkToken)},
		field{"session_token", d.secret("auto", &s.SessionToken, checkToken)},
	)
	if len(d.problems) == before {
		d.s3Whole(path, s)
	}
}

const sseKMS = "aws:kms"

// s3Whole checks what no single key can be blamed for.
func (d *decoder) s3Whole(path string, s *upload.S3) {
	if s.KMSKey != "" && s.SSE != sseKMS {
		d.wrong(path+".kms_key", "the key would not be used: add sse: aws:kms, or remove it")
	}
	if s.ExternalID != "" && s.RoleARN == "" {
		d.wrong(path+".external_id", "there is no role to assume with it: add role_arn, or remove it")
	}
	if (s.AccessKeyID == "") != (s.SecretAccessKey == "") {
		d.wrong(path, "access_key_id and secret_access_key belong together: give both, or neither to use the SDK's chain (environment, web identity, instance role)")
	}
	if s.SessionToken != "" && s.AccessKeyID == "" {
		d.wrong(path+".session_token", "a session token belongs to access_key_id and secret_access_key: give them too, or remove it")
	}
	if s.CAFile != "" && strings.HasPrefix(s.Endpoint, "http://") {
		d.wrong(path+".ca_file", "the endpoint is plain HTTP, which has no certificates: write https://, or remove ca_file")
	}
}

func parseEndpoint(s string) (string, error) {
	u, err := webURL(s)
	if err != nil {
		return "", err
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("has a path or a query: write the server alone, such as https://minio.example:9000, and the bucket in upload.to")
	}
	return strings.TrimSuffix(s, "/"), nil
}

var (
	regionName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)
	className  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	kmsKey     = regexp.MustCompile(`^[A-Za-z0-9:/_-]{1,1000}$`)
	roleARN    = regexp.MustCompile(`^arn:[a-z0-9-]+:iam::[0-9]*:role/[A-Za-z0-9+=,.@_/-]+$`)
	externalID = regexp.MustCompile(`^[A-Za-z0-9+=,.@:/_-]{2,1000}$`)
	accessKey  = regexp.MustCompile(`^[!-~]{3,128}$`)
	tagText    = regexp.MustCompile(`^[\p{L}\p{N}\p{Zs}_.:/=+@-]*$`)
)

// word reads what has the form of pattern, or usual as "". trouble completes the sentence "VALUE ...".
func (d *decoder) word(usual string, dst *string, pattern *regexp.Regexp, trouble string) func(*yaml.Node, string) {
	return d.optional(usual, dst, d.scalar(func(s string) error {
		if !pattern.MatchString(s) {
			return errors.New(trouble)
		}
		*dst = s
		return nil
	}))
}

// storageClass refuses the classes that must be restored for hours before anyone can read.
func (d *decoder) storageClass(dst *string) func(*yaml.Node, string) {
	read := d.word("auto", dst, className, "is no storage class: write one such as STANDARD_IA, or auto for the bucket's own")
	return func(n *yaml.Node, path string) {
		if slices.Contains([]string{"GLACIER", "DEEP_ARCHIVE"}, n.Value) {
			d.problem(n, path, "%s holds objects back for hours before they can be read: write GLACIER_IR, or let a lifecycle rule move them later", shown(n))
			return
		}
		read(n, path)
	}
}

// maxTags is how many tags S3 allows on an object.
const maxTags = 10

func (d *decoder) tags(n *yaml.Node, path string, dst *map[string]string) {
	tags := map[string]string{}
	before := len(d.problems)
	d.mapping(n, path, func(key string, n *yaml.Node, path string) {
		if key == "" || len(key) > 128 || !tagText.MatchString(key) || strings.HasPrefix(key, "aws:") {
			d.problem(n, path, "%q is no key of a tag: write 1 to 128 letters, digits, spaces and _ . : / = + - @, not beginning with aws:", key)
			return
		}
		d.scalar(func(v string) error {
			if len(v) > 256 || !tagText.MatchString(v) {
				return errors.New("is no value of a tag: write at most 256 letters, digits, spaces and _ . : / = + - @")
			}
			tags[key] = v
			return nil
		})(n, path)
	})
	if len(tags) > maxTags {
		d.problem(n, path, "%d tags are given: S3 allows %d on an object, remove some", len(tags), maxTags)
	}
	if len(d.problems) == before && len(tags) > 0 {
		*dst = tags
	}
}

// mapping reads a mapping whose keys are the user's own.
func (d *decoder) mapping(n *yaml.Node, path string, each func(key string, n *yaml.Node, path string)) {
	if isNull(n) {
		d.problem(n, path, noValue)
		return
	}
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "%s where a mapping is expected: write {NAME: VALUE}, or one a line below the key, indented", shown(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := fmt.Sprintf("%s.%s", path, key.Value)
		if key.Kind != yaml.ScalarNode || len(key.Value) > 128 || !plain(key.Value) {
			d.problem(key, path, "a name here is no word: write {NAME: VALUE}")
			continue
		}
		if line, ok := seen[key.Value]; ok {
			d.problem(key, at, "the name is given twice, first on line %d: remove one", line)
			continue
		}
		seen[key.Value] = key.Line
		d.lines[at] = key.Line
		each(key.Value, follow(n.Content[i+1]), at)
	}
}
