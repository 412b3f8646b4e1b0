package upload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// cures says what to do about a refusal, by the code of the answer.
var cures = map[string]string{
	"AccessDenied":          "the policy of the credentials or of the bucket does not allow it: see deploy/iam",
	"InvalidAccessKeyId":    "the access key does not exist: set upload.s3.access_key_id and its secret anew",
	"SignatureDoesNotMatch": "the secret access key is not the one of the access key: set it anew",
	"RequestTimeTooSkewed":  "this machine's clock is wrong: synchronise it",
	"ExpiredToken":          "the temporary credentials have expired: have them renewed, or give upload.s3.role_arn",
	"ExpiredTokenException": "the token of the service account has expired: is its volume still mounted?",
	"InvalidToken":          "the session token is not of these credentials: set them anew",
	"InvalidIdentityToken":  "the role does not trust this cluster's identity provider: set up its trust policy",
	"AllAccessDisabled":     "the account or bucket is disabled",
	"XAdminUserNotFound":    "the access key does not exist: set upload.s3.access_key_id and its secret anew", // versitygw
	"InvalidClientTokenId":  "the access key does not exist: set upload.s3.access_key_id and its secret anew",
}

// answer is the code and text with which a server refused, of the innermost request that failed; "" if none answered.
func answer(err error) (code, message string) {
	var api smithy.APIError
	for errors.As(err, &api) {
		code, message = api.ErrorCode(), api.ErrorMessage()
		err = errors.Unwrap(err)
	}
	return code, message
}

// fail makes of an error of the SDK one that a person can act on and that holds no secret: neither URLs nor headers.
func (s *s3Store) fail(ctx context.Context, doing, key string, err error) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf("%s %s in %s", doing, key, s)
	if key == "" {
		what = fmt.Sprintf("%s %s", doing, s)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	var resp *smithyhttp.ResponseError
	status := 0
	if errors.As(err, &resp) {
		status = resp.HTTPStatusCode()
	}
	code, message := answer(err)
	message = plain(message)
	switch service := serviceOf(err); {
	case cures[code] != "" && service != "S3":
		return fmt.Errorf("%s: %w: %s gives no credentials: %s (%s): %s",
			what, ErrDenied, service, code, message, cures[code])
	case cures[code] != "":
		return fmt.Errorf("%s: %w: %s (%s): %s", what, ErrDenied, code, message, cures[code])
	case code == "NoSuchKey", code == "NotFound" && status == http.StatusNotFound:
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	case code == "NoSuchBucket":
		return fmt.Errorf("%s: there is no bucket %s: make it, or correct upload.to", what, s.bucket)
	case code == "PreconditionFailed":
		return fmt.Errorf("%s: %w", what, ErrExists)
	case code == "PermanentRedirect", code == "AuthorizationHeaderMalformed",
		code == "IllegalLocationConstraintException",
		status == http.StatusMovedPermanently:
		return fmt.Errorf("%s: the bucket is in %s: set upload.s3.region to it (%s: %s)", what, bucketRegion(resp), code, message)
	case status == http.StatusForbidden:
		return fmt.Errorf("%s: %w: %s (%s)", what, ErrDenied, code, message)
	case status != 0:
		return fmt.Errorf("%s: the store answers %d %s (%s)", what, status, code, message)
	case serviceOf(err) != "S3" || strings.Contains(err.Error(), "get credentials"):
		return fmt.Errorf("%s: no credentials: %w: give the service account a role, or set AWS_ACCESS_KEY_ID and "+
			"AWS_SECRET_ACCESS_KEY, or upload.s3.access_key_id", what, s.bare(err))
	}
	return fmt.Errorf("%s: no answer from %s: %w: is it up, may this node reach it, and is upload.s3.endpoint right?",
		what, s.endpoint(), s.bare(err))
}

// endpoint is where requests go, as people know it.
func (s *s3Store) endpoint() string {
	if s.cfg.Endpoint != "" {
		return s.cfg.Endpoint
	}
	return "S3 in " + s.client.Options().Region
}

// bare is the cause of a failed request without its URL, which may hold what is signed.
func (s *s3Store) bare(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	return err
}

// serviceOf is the service whose request failed first: STS when S3's credentials could not be had.
func serviceOf(err error) string {
	service := "S3"
	var op *smithy.OperationError
	for errors.As(err, &op) {
		service, err = op.ServiceID, op.Err
	}
	return service
}

func bucketRegion(resp *smithyhttp.ResponseError) string {
	if resp != nil && resp.Response != nil {
		if region := plain(resp.Response.Header.Get("X-Amz-Bucket-Region")); region != "" {
			return region
		}
	}
	return "another region"
}

// plain makes one short line of what a server says.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
