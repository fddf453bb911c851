// Package loglimit bounds what a peer can bring a log to: lines that a guest or a front
// end causes at will come thousands a second if it wants that. Counters tell of each; a
// log of so many at once, and then one in a while.
package loglimit

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// logger is a Logger whose lines of Info and Warn count against a limit.
type logger struct {
	hclog.Logger
	limit *limit
}

// New is log with at most burst lines of Info and Warn at once, and then one in every;
// the next that passes has the number of those that did not as not_logged_before. What
// comes of its With shares the limit; other levels have none.
//
//	conc: as log
func New(log hclog.Logger, burst int, every time.Duration) hclog.Logger {
	return logger{log, &limit{burst: burst, every: every}}
}

// Info implements hclog.Logger.
func (l logger) Info(msg string, args ...any) { l.pass(l.Logger.Info, msg, args) }

// Warn implements hclog.Logger.
func (l logger) Warn(msg string, args ...any) { l.pass(l.Logger.Warn, msg, args) }

// With implements hclog.Logger.
func (l logger) With(args ...any) hclog.Logger { return logger{l.Logger.With(args...), l.limit} }

func (l logger) pass(write func(string, ...any), msg string, args []any) {
	hidden, ok := l.limit.take(time.Now())
	if !ok {
		return
	}
	if hidden > 0 {
		args = append(args[:len(args):len(args)], "not_logged_before", hidden)
	}
	write(msg, args...)
}

// limit is how many lines are left. One that was never used is full.
type limit struct {
	burst int
	every time.Duration

	mu     sync.Mutex
	used   int
	since  time.Time // when used was last right
	hidden uint64    // lines refused since the last one that passed
}

// take asks for one line at time now; hidden is how many were refused before it.
func (l *limit) take(now time.Time) (hidden uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if back := int64(now.Sub(l.since) / l.every); back > 0 {
		l.used -= int(min(back, int64(l.used)))
		l.since = now
	}
	if l.used == l.burst {
		l.hidden++
		return 0, false
	}
	l.used++
	hidden, l.hidden = l.hidden, 0
	return hidden, true
}
