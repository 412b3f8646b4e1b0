package store

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	givenKey   = "ASIAGIVEN"
	givenToken = "session-token-of-the-test"
)

// fakeAWS gives temporary credentials as STS, pod identity and the instance's metadata do, keeps what it was asked for,
// and takes objects: the real server knows no session tokens.
type fakeAWS struct {
	*httptest.Server

	mu      sync.Mutex
	forms   []url.Values  // of STS
	auth    []string      // Authorization, of STS and of pod identity
	objects []http.Header // of the requests that stored one
}

func startAWS(t *testing.T) *fakeAWS {
	f := &fakeAWS{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", f.sts)
	mux.HandleFunc("PUT /evidence/", func(_ http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.objects = append(f.objects, r.Header.Clone())
	})
	mux.HandleFunc("GET /v1/credentials", f.pod)
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		fmt.Fprint(w, "metadata-token")
	})
	mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/{role...}", f.instance)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeAWS) note(form url.Values, auth string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forms, f.auth = append(f.forms, form), append(f.auth, auth)
}

// asked returns the form and the Authorization of the first request, and how many there were.
func (f *fakeAWS) asked() (url.Values, string, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.forms) == 0 {
		return nil, "", 0
	}
	return f.forms[0], f.auth[0], len(f.forms)
}

func (f *fakeAWS) sts(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	f.note(r.PostForm, r.Header.Get("Authorization"))
	action := r.PostForm.Get("Action")
	w.Header().Set("Content-Type", "text/xml")
	if strings.Contains(r.PostForm.Get("RoleArn"), "forbidden") {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>`)
		return
	}
	fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><Credentials><AccessKeyId>%[2]s</AccessKeyId>`+
		`<SecretAccessKey>%[3]s</SecretAccessKey><SessionToken>%[4]s</SessionToken><Expiration>%[5]s</Expiration></Credentials>`+
		`<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser></%[1]sResult></%[1]sResponse>`,
		action, givenKey, "given-secret", givenToken, expiry())
}

func (f *fakeAWS) pod(w http.ResponseWriter, r *http.Request) {
	f.note(nil, r.Header.Get("Authorization"))
	giveJSON(w)
}

func (f *fakeAWS) instance(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "metadata-token":
		w.WriteHeader(http.StatusUnauthorized)
	case r.PathValue("role") == "":
		fmt.Fprint(w, "node-role")
	default:
		f.note(nil, r.PathValue("role"))
		giveJSON(w)
	}
}

func giveJSON(w http.ResponseWriter) {
	_ = json.NewEncoder(w).Encode(map[string]string{
		"Code": "Success", "AccessKeyId": givenKey, "SecretAccessKey": "given-secret", "Token": givenToken, "Expiration": expiry(),
	})
}

func expiry() string { return time.Now().Add(time.Hour).UTC().Format(time.RFC3339) }
