package upload

//lint:file-ignore SA1019 the project requires feature/s3/manager, whose successor is not stable; only this file knows it

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	defaultPartSize    = 5 << 20
	defaultConcurrency = 3
	maxParts           = 9_000 // S3 takes 10,000, and sizes are estimates
	abortWithin        = 5 * time.Second
)

// uploader sends objects in parts. An upload holds at most concurrency+1 parts in memory, and its first.
type uploader struct{ manager *manager.Uploader }

func newUploader(client *s3.Client, cfg S3) uploader {
	return uploader{manager.NewUploader(client, func(u *manager.Uploader) {
		u.PartSize = max(cfg.PartSize, manager.MinUploadPartSize)
		u.Concurrency = defaultConcurrency
		if cfg.Concurrency > 0 {
			u.Concurrency = cfg.Concurrency
		}
		u.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		u.LeavePartsOnError = true // they are removed here, also when the context has ended
	})}
}

// partSize is the size of parts by which size bytes fit in maxParts, in whole MiB.
func partSize(base, size int64) int64 {
	least := (size + maxParts - 1) / maxParts
	return max(base, (least+1<<20-1)>>20<<20)
}

// put sends r's bytes as the object that in describes. It leaves no parts behind, if the store can be reached.
func (u uploader) put(ctx context.Context, client *s3.Client, in *s3.PutObjectInput, r io.Reader, size int64) error {
	in.Body = onlyReader{r}
	_, err := u.manager.Upload(ctx, in, func(m *manager.Uploader) { m.PartSize = partSize(m.PartSize, size) })
	var failed manager.MultiUploadFailure
	if errors.As(err, &failed) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortWithin)
		defer cancel()
		id := failed.UploadID()
		_, _ = client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: in.Bucket, Key: in.Key, UploadId: &id},
			func(o *s3.Options) { o.RetryMaxAttempts = 1 }) // what stays is found by Unfinished
		err = errors.Unwrap(failed)
	}
	return err
}

// onlyReader hides every other method: manager would read parts of a file concurrently, and unbuffered.
type onlyReader struct{ io.Reader }
