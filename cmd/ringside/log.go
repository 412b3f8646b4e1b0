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
// are UTC. cfg has been checked.
func newLogger(cfg config.Log, f *os.File) *zap.Logger {
	level, err := zapcore.ParseLevel(cfg.Level)
	if err != nil {
		level = zapcore.InfoLevel
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
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(f), level))
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
