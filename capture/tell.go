package capture

import (
	"time"

	"github.com/ringside/ringside/pcapng"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// tellChange dates what has become of an interface, in the recording and in the log.
func (c *Capture) tellChange(before, now *iface) {
	switch {
	case before != nil && before.state == now.state && before.name == now.name && before.why == now.why && before.ring == now.ring:
	case now.state == StateExcluded && (before == nil || before.state == StateExcluded):
	case before != nil && before.name != now.name && before.state != StateExcluded:
		c.tell(now, "renamed from "+before.name+": "+now.state)
	default:
		c.tell(now, now.state)
	}
}

// tell says it once: interfaces that a glob names come and go by the thousand, so they are told of only at debug level.
func (c *Capture) tell(i *iface, what string) {
	now := time.Now().UnixNano()
	c.sink.Note(pcapng.Note{Kind: pcapng.NoteInterface, To: now, Interface: i.name, Ring: i.ring, Text: what})
	level := zapcore.InfoLevel
	switch {
	case i.state == StateBlind:
		level = zapcore.WarnLevel
	case glob(i.rule):
		level = zapcore.DebugLevel
	}
	fields := []zap.Field{zap.String("interface", i.name), zap.String("ring", i.ring)}
	if i.why != "" {
		fields = append(fields, zap.String("why", i.why))
	}
	c.log.Log(level, "interface "+what, fields...)
}

// tellWaiting warns once, at start, of what is configured and not there.
func (c *Capture) tellWaiting() {
	for _, i := range c.dir.status() {
		if i.State == StateWaiting && !glob(i.Name) {
			c.log.Warn("interface is not there", zap.String("interface", i.Name), zap.String("what", i.Why))
		}
	}
}
