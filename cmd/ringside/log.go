package main

import (
	"os"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/config"
)

// newLogger logs to f: lines for people on a terminal, JSON otherwise, unless the configuration names a format. Times
// are UTC. The level can be changed. cfg has been checked.
func newLogger(cfg config.Log, f *os.File) (*zap.Logger, zap.AtomicLevel) {
	level, err := zap.ParseAtomicLevel(cfg.Level)
	if err != nil {
		level = zap.NewAtomicLevel()
	}
	e := zap.NewProductionEncoderConfig()
	e.TimeKey, e.MessageKey = "time", "msg"
	e.EncodeTime = func(t time.Time, out zapcore.PrimitiveArrayEncoder) {
		out.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	e.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(e)
	terminal := isTerminal(f)
	if cfg.Format == "console" || cfg.Format == "auto" && terminal {
		if terminal {
			e.EncodeLevel = zapcore.CapitalColorLevelEncoder
		}
		e.ConsoleSeparator = "  "
		encoder = zapcore.NewConsoleEncoder(e)
	}
	out := zapcore.Lock(f)
	return zap.New(audited{zapcore.NewCore(encoder, out, level), zapcore.NewCore(encoder, out, zap.InfoLevel)}), level
}

// audited logs what the logger named audit says whatever the level is: who took packets is not for a level to hide.
type audited struct {
	zapcore.Core
	audit zapcore.Core
}

// Enabled implements zapcore.Core.
func (a audited) Enabled(l zapcore.Level) bool { return a.Core.Enabled(l) || a.audit.Enabled(l) }

// With implements zapcore.Core.
func (a audited) With(fields []zapcore.Field) zapcore.Core {
	return audited{a.Core.With(fields), a.audit.With(fields)}
}

// Check implements zapcore.Core.
func (a audited) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.LoggerName == "audit" {
		return a.audit.Check(e, c)
	}
	return a.Core.Check(e, c)
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
