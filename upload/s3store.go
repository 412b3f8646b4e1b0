package upload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// s3Store keeps objects in a bucket, below a prefix. To write takes s3:PutObject and s3:AbortMultipartUpload alone, with
// tags s3:PutObjectTagging too; nothing but List, Folders and Unfinished lists.
type s3Store struct {
	bucket string
	prefix string // "" or ends with a slash
	cfg    S3
	client *s3.Client
	upload uploader
}

func openS3(ctx context.Context, cfg Config, bucket, prefix string, dial Dial) (Store, error) {
	if cfg.S3.Checksum != "" && !slices.Contains(checksums, cfg.S3.Checksum) {
		return nil, fmt.Errorf("upload.s3.checksum %q is none of %s", cfg.S3.Checksum, strings.Join(checksums, ", "))
	}
	client, err := newClient(ctx, cfg, dial)
	if err != nil {
		return nil, err
	}
	if prefix != "" {
		prefix += "/"
	}
	return &s3Store{bucket, prefix, cfg.S3, client, newUploader(client, cfg.S3)}, nil
}

const checksumNone = "none"

// checksums are those that S3 and the SDK have in common, and that S3 can join from parts.
var checksums = []string{"CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME", checksumNone}

// String implements Store.
func (s *s3Store) String() string {
	return strings.TrimSuffix("s3://"+s.bucket+"/"+s.prefix, "/")
}

// object checks key and returns it as the bucket has it.
func (s *s3Store) object(key string) (*string, error) {
	full := s.prefix + key
	return &full, checkKey(key)
}

// describe is everything that a new object is to have.
func (s *s3Store) describe(key *string, contentType string) *s3.PutObjectInput {
	in := &s3.PutObjectInput{
		Bucket:               &s.bucket,
		Key:                  key,
		StorageClass:         types.StorageClass(s.cfg.StorageClass),
		ServerSideEncryption: types.ServerSideEncryption(s.cfg.SSE),
	}
	if contentType != "" {
		in.ContentType = &contentType
	}
	if s.cfg.KMSKey != "" {
		in.SSEKMSKeyId = &s.cfg.KMSKey
	}
	if len(s.cfg.Tags) > 0 {
		tags := make(url.Values)
		for k, v := range s.cfg.Tags {
			tags.Set(k, v)
		}
		in.Tagging = aws.String(tags.Encode())
	}
	switch s.cfg.Checksum {
	case "":
		in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32
	case checksumNone:
	default:
		in.ChecksumAlgorithm = types.ChecksumAlgorithm(s.cfg.Checksum)
	}
	return in
}

// Put implements Store.
func (s *s3Store) Put(ctx context.Context, key string, r io.Reader, o PutOptions) error {
	object, err := s.object(key)
	if err != nil {
		return err
	}
	source := &sourceReader{r: r}
	err = s.upload.put(ctx, s.client, s.describe(object, o.Type), source, o.Size)
	if source.err != nil {
		return fmt.Errorf("store %s in %s: %w", key, s, source.err)
	}
	return s.fail(ctx, "store", key, err)
}

// sourceReader keeps the error that ended it, to be told from the store's. One goroutine reads.
type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	} else if err != nil {
		err = io.EOF // manager compares
	}
	return n, err
}

// PutNew implements Store. When two write at once, S3 may ask one to try again.
func (s *s3Store) PutNew(ctx context.Context, key string, data []byte, o PutOptions) error {
	object, err := s.object(key)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		in := s.describe(object, o.Type)
		in.IfNoneMatch = aws.String("*")
		in.Body = bytes.NewReader(data)
		_, err := s.client.PutObject(ctx, in)
		if code, _ := answer(err); code != "ConditionalRequestConflict" || try == 5 {
			return s.fail(ctx, "store", key, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(try) * 50 * time.Millisecond):
		}
	}
}

// Get implements Store.
func (s *s3Store) Get(ctx context.Context, key string, offset int64) (io.ReadCloser, Object, error) {
	object, err := s.object(key)
	if err != nil {
		return nil, Object{}, err
	}
	if offset < 0 {
		return nil, Object{}, fmt.Errorf("read %s: offset %d is negative", key, offset)
	}
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: object}
	if offset > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	out, err := s.client.GetObject(ctx, in)
	if code, _ := answer(err); code == "InvalidRange" {
		return s.atEnd(ctx, key, object, offset)
	}
	if err != nil {
		return nil, Object{}, s.fail(ctx, "read", key, err)
	}
	o := Object{Key: key, Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified)}
	if offset > 0 {
		_, size, _ := strings.Cut(aws.ToString(out.ContentRange), "/")
		if o.Size, err = strconv.ParseInt(size, 10, 64); err != nil {
			out.Body.Close()
			return nil, Object{}, fmt.Errorf("read %s from %s: the store answered without the range that was asked for, "+
				"from byte %d", key, s, offset)
		}
	}
	return out.Body, o, nil
}

// atEnd answers for an offset that no byte lies behind.
func (s *s3Store) atEnd(ctx context.Context, key string, object *string, offset int64) (io.ReadCloser, Object, error) {
	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: object})
	if err != nil {
		return nil, Object{}, s.fail(ctx, "read", key, err)
	}
	o := Object{Key: key, Size: aws.ToInt64(head.ContentLength), Modified: aws.ToTime(head.LastModified)}
	if offset != o.Size {
		return nil, Object{}, fmt.Errorf("read %s: offset %d is outside of its %d bytes", key, offset, o.Size)
	}
	return io.NopCloser(bytes.NewReader(nil)), o, nil
}

// List implements Store.
func (s *s3Store) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{
			Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix),
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(Object{}, s.fail(ctx, "list", prefix, err))
				return
			}
			for _, o := range page.Contents {
				key := strings.TrimPrefix(aws.ToString(o.Key), s.prefix)
				if !yield(Object{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
		}
	}
}

// Folders implements Store.
func (s *s3Store) Folders(ctx context.Context, prefix string) ([]string, error) {
	full := s.prefix + prefix
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{
		Bucket: &s.bucket, Prefix: &full, Delimiter: aws.String("/"),
	})
	var folders []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, s.fail(ctx, "list", prefix, err)
		}
		for _, p := range page.CommonPrefixes {
			folders = append(folders, strings.TrimSuffix(strings.TrimPrefix(aws.ToString(p.Prefix), full), "/"))
		}
	}
	slices.Sort(folders)
	return folders, nil
}

// Delete implements Store.
func (s *s3Store) Delete(ctx context.Context, key string) error {
	object, err := s.object(key)
	if err != nil {
		return err
	}
	_, err = s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: object})
	if err = s.fail(ctx, "remove", key, err); errors.Is(err, ErrNotFound) {
		return nil // S3 itself says nothing of it
	}
	return err
}

const maxLink = 7 * 24 * time.Hour

// Link implements Store. The URL is a secret: whoever has it reads the object.
func (s *s3Store) Link(ctx context.Context, key string, ttl time.Duration) (string, error) {
	object, err := s.object(key)
	if err != nil {
		return "", err
	}
	if ttl < time.Second || ttl > maxLink {
		return "", fmt.Errorf("link to %s for %v: S3 signs URLs for 1s to 7 days", key, ttl)
	}
	signed, err := s3.NewPresignClient(s.client, s3.WithPresignExpires(ttl)).
		PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: object})
	if err != nil {
		return "", s.fail(ctx, "link to", key, err)
	}
	return signed.URL, nil
}

// Unfinished implements Store. The ID is that of the multipart upload.
func (s *s3Store) Unfinished(ctx context.Context, prefix string) iter.Seq2[Unfinished, error] {
	return func(yield func(Unfinished, error) bool) {
		pages := s3.NewListMultipartUploadsPaginator(s.client, &s3.ListMultipartUploadsInput{
			Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix),
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(Unfinished{}, s.fail(ctx, "list", prefix, err))
				return
			}
			for _, u := range page.Uploads {
				key := strings.TrimPrefix(aws.ToString(u.Key), s.prefix)
				if !yield(Unfinished{Key: key, ID: aws.ToString(u.UploadId), Begun: aws.ToTime(u.Initiated)}, nil) {
					return
				}
			}
		}
	}
}

// Abort implements Store.
func (s *s3Store) Abort(ctx context.Context, u Unfinished) error {
	object, err := s.object(u.Key)
	if err != nil {
		return err
	}
	in := &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: object, UploadId: &u.ID}
	_, err = s.client.AbortMultipartUpload(ctx, in)
	if code, _ := answer(err); code == "NoSuchUpload" {
		return nil
	}
	return s.fail(ctx, "abort", u.Key, err)
}
