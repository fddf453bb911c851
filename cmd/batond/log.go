package main

import (
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// loggers are batond's loggers: one for each part, with levels of their own.
type loggers struct {
	root  hclog.Logger
	parts map[string]hclog.Logger
}

func newLoggers(s *settings) *loggers {
	l := &loggers{parts: map[string]hclog.Logger{}}
	l.root = hclog.New(&hclog.LoggerOptions{
		Name: "batond", Level: hclog.LevelFromString(s.Log.Level), Output: os.Stderr,
		JSONFormat: s.Log.JSON, IndependentLevels: true,
	})
	for _, part := range []string{"dpdk", "vhost", "worker", "agent", "api", "standby"} {
		l.parts[part] = l.root.Named(part)
	}
	return l
}

// part is the logger of one part.
func (l *loggers) part(name string) hclog.Logger { return l.parts[name] }

// set changes the level of one part, or of all if name is empty.
func (l *loggers) set(name string, level hclog.Level) error {
	if name == "" {
		l.root.SetLevel(level)
		for _, p := range l.parts {
			p.SetLevel(level)
		}
		return nil
	}
	p, ok := l.parts[name]
	if !ok {
		var known []string
		for n := range l.parts {
			known = append(known, n)
		}
		sort.Strings(known)
		return fmt.Errorf("no part %q logs: want one of %s", name, strings.Join(known, ", "))
	}
	p.SetLevel(level)
	return nil
}

// tellPreempted says what it costs that the workers do not keep their processors, if err says
// why they do not.
func tellPreempted(log hclog.Logger, err error) {
	if err != nil {
		log.Info("Go's scheduler takes the workers' processors every 10 ms", "reason", err,
			"costs", "some 50 gaps a second in each poll loop, of tens of microseconds, or of milliseconds while the control side is busy")
	}
}
