package main

import (
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"
)

// logs are the loggers of the program's parts, whose levels change at run time.
type logs struct {
	base hclog.Level // of the configuration

	mu    sync.Mutex
	root  hclog.Logger
	parts map[string]hclog.Logger
	debug bool // SIGUSR1 switched it on
}

func newLogs(root hclog.Logger, base hclog.Level) *logs {
	return &logs{base: base, root: root, parts: map[string]hclog.Logger{}}
}

// part makes the logger of a part.
func (l *logs) part(name string) hclog.Logger {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.root.Named(name)
	l.parts[name] = p
	return p
}

// setLevel changes one part, or with an empty name all.
func (l *logs) setLevel(name string, level hclog.Level) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if name != "" {
		p := l.parts[name]
		if p == nil {
			return fmt.Errorf("there is no part %q: want one of %s", name, strings.Join(slices.Sorted(maps.Keys(l.parts)), ", "))
		}
		p.SetLevel(level)
		return nil
	}
	l.root.SetLevel(level)
	for _, p := range l.parts {
		p.SetLevel(level)
	}
	return nil
}

// toggle switches all parts between debug and the configured level.
func (l *logs) toggle() {
	l.mu.Lock()
	l.debug = !l.debug
	level := l.base
	if l.debug {
		level = hclog.Debug
	}
	l.mu.Unlock()
	if err := l.setLevel("", level); err == nil {
		l.root.Info("log level changed by a signal", "level", level.String())
	}
}

// onSignal toggles at each SIGUSR1 until stop is called.
func (l *logs) onSignal() (stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-c:
				l.toggle()
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(c)
		close(done)
		wg.Wait()
	}
}
