// Package series keeps what happened to each service over time: answers and how long they took, connections made and
// refused, resets, segments sent again, time-outs. Memory is bounded whatever the length of the capture.
//
// Its nouns:
//
//   - Series: a service's buckets.
//   - Bucket: what happened in one step of time.
//   - Cell: answers that took about as long: a bucket counts them by cell, and percentiles are read from those counts.
//   - Table: all series of a capture; its step doubles when there would be too many buckets.
package series
