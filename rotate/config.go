package rotate

import (
	"fmt"
	"time"
)

// Config says where the spool is and what it may use. Zero fields other than Dir and WriteLimit mean their default.
type Config struct {
	Dir        string
	Every      time.Duration // longest time in one segment, default 30 s, at least 1 s
	MaxSize    int64         // longest segment in bytes, default 256 MiB, at least 2 MiB; never more than a quarter of Keep.Bytes
	Keep       Keep
	WriteLimit int64 // bytes per second written to the disk, 0 for no limit; what exceeds it is felt by the ring
}

// Keep bounds what is kept. Whatever is reached first removes the oldest segment.
type Keep struct {
	Bytes int64         // of the whole spool without what only pins hold, default the smaller of 10 GiB and 10 % of the disk
	Age   time.Duration // default 24 h
	Free  float64       // share of the disk to leave free, in (0, 1), default 0.20
}

const (
	minBytes   = 8 << 20 // a spool that holds less is no use
	maxDefault = 10 << 30
	minSegment = 2 << 20
)

// withDefaults fills the zero fields, except Keep.Bytes, which depends on the disk, and checks the rest.
func (c Config) withDefaults() (Config, error) {
	if c.Every == 0 {
		c.Every = 30 * time.Second
	}
	if c.MaxSize == 0 {
		c.MaxSize = 256 << 20
	}
	if c.Keep.Age == 0 {
		c.Keep.Age = 24 * time.Hour
	}
	if c.Keep.Free == 0 {
		c.Keep.Free = 0.20
	}
	switch {
	case c.Dir == "":
		return c, fmt.Errorf("rotate.dir is empty: name the directory to record into")
	case c.Every < time.Second:
		return c, fmt.Errorf("rotate.every is %v: give at least 1s", c.Every)
	case c.MaxSize < minSegment:
		return c, fmt.Errorf("rotate.max_size is %d bytes: give at least %d", c.MaxSize, minSegment)
	case c.Keep.Age < 0:
		return c, fmt.Errorf("rotate.keep.age is %v: give a positive duration", c.Keep.Age)
	case c.Keep.Free < 0 || c.Keep.Free >= 1:
		return c, fmt.Errorf("rotate.keep.free is %v: give a share of the disk between 0%% and 100%%", c.Keep.Free)
	case c.Keep.Bytes < 0 || c.Keep.Bytes > 0 && c.Keep.Bytes < minBytes:
		return c, fmt.Errorf("rotate.keep.bytes is %d: give at least %d", c.Keep.Bytes, minBytes)
	case c.WriteLimit < 0:
		return c, fmt.Errorf("rotate.write_limit is %d: give bytes per second, or 0 for no limit", c.WriteLimit)
	}
	return c, nil
}

// forDisk settles what depends on the disk's size in bytes.
func (c Config) forDisk(total int64) (Config, error) {
	if c.Keep.Bytes == 0 {
		c.Keep.Bytes = min(maxDefault, total/10)
		if c.Keep.Bytes < minBytes {
			return c, fmt.Errorf("the disk of %s has %d MiB, and a tenth of it is too small for a spool: "+
				"use a larger disk, or set rotate.keep.bytes to at least %d MiB", c.Dir, total>>20, minBytes>>20)
		}
	}
	c.MaxSize = max(minSegment, min(c.MaxSize, c.Keep.Bytes/4))
	return c, nil
}
