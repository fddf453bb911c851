package store

import (
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger makes etcd, which logs with zap, log to l. etcd is talkative: what it
// finds worth an Info is a Debug to us.
// closing, if not nil, says that what ends now ends on purpose.
func zapLogger(l hclog.Logger, closing *atomic.Bool) *zap.Logger {
	return zap.New(bridge{l: l, closing: closing})
}

// quietly is for the client: what it warns of comes back as an error too.
var quietly atomic.Bool

// bridge is a zapcore.Core that writes to hclog.
type bridge struct {
	l       hclog.Logger
	closing *atomic.Bool
	fields  []zapcore.Field
}

// expected are warnings about how we run etcd on purpose: one port, on a socket
// that nobody else can enter.
var expected = []string{"Running http and grpc server on single port", "simple token is not cryptographically signed"}

// early is the error of an etcd that looks for its storage's version before it has written its first
// term, as it may where disk or CPU are slow: it looks again 4 s later.
const early = "missing term information"

// quiet reports whether a line is for those only who look for it.
func (b bridge) quiet(message string, fields map[string]any) bool {
	if text, ok := fields["error"].(string); ok && strings.HasSuffix(text, early) {
		return true
	}
	if b.closing != nil && b.closing.Load() {
		return true
	}
	return slices.ContainsFunc(expected, func(e string) bool { return strings.HasPrefix(message, e) })
}

var _ zapcore.Core = bridge{}

func level(z zapcore.Level) hclog.Level {
	switch {
	case z >= zapcore.ErrorLevel:
		return hclog.Error
	case z >= zapcore.WarnLevel:
		return hclog.Warn
	case z >= zapcore.InfoLevel:
		return hclog.Debug
	}
	return hclog.Trace
}

// Enabled is whether hclog would write at that level.
func (b bridge) Enabled(z zapcore.Level) bool {
	now := b.l.GetLevel()
	return now != hclog.Off && level(z) >= now
}

// With is the bridge with more fields on each line.
func (b bridge) With(fields []zapcore.Field) zapcore.Core {
	return bridge{b.l, b.closing, append(append([]zapcore.Field(nil), b.fields...), fields...)}
}

// Check adds the bridge to those that write the entry.
func (b bridge) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return ce.AddCore(e, b)
	}
	return ce
}

// Write writes one line.
func (b bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	var args []any
	for _, f := range append(append([]zapcore.Field(nil), b.fields...), fields...) {
		f.AddTo(enc)
		if v, ok := enc.Fields[f.Key]; ok {
			if text, ok := v.(string); ok {
				v = cut(text)
			}
			args = append(args, f.Key, v)
		}
	}
	l := level(e.Level)
	if b.quiet(e.Message, enc.Fields) {
		l = min(l, hclog.Debug)
	}
	b.l.Log(l, e.Message, args...)
	return nil
}

// maxValue is how many bytes of a field's value are logged: etcd prints whole
// transactions.
const maxValue = 500

func cut(text string) string {
	if len(text) <= maxValue {
		return text
	}
	return strings.ToValidUTF8(text[:maxValue], "") + "…"
}

// Sync has nothing to do.
func (b bridge) Sync() error { return nil }

func init() { quietly.Store(true) }
