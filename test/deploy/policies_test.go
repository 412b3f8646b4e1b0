package deploy

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"go.yaml.in/yaml/v3"
)

// TestPolicies holds each role to exactly what it needs: the writer can neither read nor list nor remove.
func TestPolicies(t *testing.T) {
	for name, want := range map[string][]string{
		"writer": {"kms:Decrypt", "kms:GenerateDataKey", "s3:AbortMultipartUpload", "s3:PutObject", "s3:PutObjectTagging"},
		"reader": {"kms:Decrypt", "s3:GetObject", "s3:ListBucket"},
		"remover": {"kms:Decrypt", "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListBucket",
			"s3:ListBucketMultipartUploads"},
	} {
		var p struct {
			Version   string
			Statement []struct {
				Sid, Effect string
				Action      any
				Resource    string
				Condition   map[string]map[string]string
			}
		}
		strict(t, "iam/"+name+".json", &p)
		var got []string
		for _, s := range p.Statement {
			got = append(got, actions(s.Action)...)
			if s.Effect != "Allow" || !strings.HasPrefix(s.Resource, "arn:aws:") {
				t.Errorf("%s: statement %+v", name, s)
			}
			if objects := strings.HasSuffix(s.Resource, "/PREFIX/*"); objects != strings.Contains(s.Sid, "Incidents") && !strings.HasPrefix(s.Sid, "List") {
				t.Errorf("%s: statement %s is about %s", name, s.Sid, s.Resource)
			}
		}
		slices.Sort(got)
		if p.Version != "2012-10-17" || !slices.Equal(got, want) {
			t.Errorf("%s allows %v, want %v", name, got, want)
		}
	}
}

func actions(v any) []string {
	if one, ok := v.(string); ok {
		return []string{one}
	}
	var list []string
	for _, a := range v.([]any) {
		list = append(list, a.(string))
	}
	return list
}

// TestLifecycle reads the rules as S3's own types have them.
func TestLifecycle(t *testing.T) {
	var c types.BucketLifecycleConfiguration
	strict(t, "s3/lifecycle.json", &c)
	var abort, expire int32
	for _, r := range c.Rules {
		if r.Status != types.ExpirationStatusEnabled || r.Filter == nil || *r.Filter.Prefix != "PREFIX/" {
			t.Errorf("rule %s: status %s", *r.ID, r.Status)
		}
		if r.AbortIncompleteMultipartUpload != nil {
			abort = *r.AbortIncompleteMultipartUpload.DaysAfterInitiation
		}
		if r.Expiration != nil {
			expire = *r.Expiration.Days
		}
	}
	if abort != 2 || expire != 90 {
		t.Errorf("uploads are aborted after %d days, incidents removed after %d, want 2 and 90", abort, expire)
	}
}

// strict reads a JSON file without any field that v does not have.
func strict(t *testing.T, name string, v any) {
	t.Helper()
	in := json.NewDecoder(strings.NewReader(read(t, name)))
	in.DisallowUnknownFields()
	if err := in.Decode(v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// convert reads what YAML gave without types.
func convert(t *testing.T, from, to any) {
	t.Helper()
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func unmarshal(t *testing.T, text string, to any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), to); err != nil {
		t.Fatal(err)
	}
}
