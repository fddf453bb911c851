package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Options says how a Lab behaves. The zero value is quiet and catches no signals.
type Options struct {
	Out     io.Writer // progress lines; nil: none
	Keep    bool      // Close keeps the work folder (logs, captures) and says where it is
	Signals bool      // SIGINT and SIGTERM close the lab and end the process with 128 + signal
}

// Lab owns all that one run starts: namespaces, processes, guests, captures.
type Lab struct {
	opts   Options
	id     string // pid-start-number: unique on this machine, and tells the owner
	dir    string
	start  time.Time
	ctx    context.Context
	cancel context.CancelFunc
	spawn  *spawner

	outMu sync.Mutex // guards opts.Out

	mu      sync.Mutex // guards what follows
	keep    bool       // the work folder outlives Close
	undo    []undoStep
	procs   []*Proc
	closing chan struct{} // non-nil once Close has begun; closed when it is done
	ending  bool          // a signal ends the process
	err     error         // of Close
}

type undoStep struct {
	name string
	fn   func() error
}

var labNumber atomic.Int64

// New makes an empty lab, after it has removed what dead owners left behind.
//
//	error: not root, or the work folder cannot be made
//	owner: the caller; Close undoes everything
func New(opts Options) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("lab: needs root for network namespaces: run as root")
	}
	if err := removeStale(); err != nil {
		return nil, fmt.Errorf("lab: remove what an earlier run left: %w", err)
	}
	started, err := startTime(os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("lab: own start time: %w", err)
	}
	id := fmt.Sprintf("%d-%d-%d", os.Getpid(), started, labNumber.Add(1))
	l := &Lab{opts: opts, id: id, start: time.Now(), keep: opts.Keep, dir: filepath.Join(os.TempDir(), dirPrefix+id)}
	if err := os.Mkdir(l.dir, 0o700); err != nil {
		return nil, fmt.Errorf("lab: work folder: %w", err)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.spawn = newSpawner()
	if opts.Signals {
		l.catchSignals()
	}
	return l, nil
}

// ForTest makes a lab for one test. It skips the test where the lab cannot run
// (not root), closes the lab with the test, and fails the test if Close fails
// or a process ended by itself.
func ForTest(t testing.TB) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	l, err := New(Options{Out: testWriter{t}, Signals: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, err := range l.Unexpected() {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Helper()
	w.t.Log(string(trimNewline(p)))
	return len(p), nil
}

func trimNewline(p []byte) []byte {
	if n := len(p); n > 0 && p[n-1] == '\n' {
		return p[:n-1]
	}
	return p
}

// Dir is the lab's work folder: logs, sockets, captures. Its path is short
// enough for unix sockets (108 bytes). It goes with Close.
func (l *Lab) Dir() string { return l.dir }

// Path joins names to the work folder.
func (l *Lab) Path(names ...string) string {
	return filepath.Join(append([]string{l.dir}, names...)...)
}

// MkdirPath makes a folder below the work folder and returns its path.
func (l *Lab) MkdirPath(names ...string) (string, error) {
	p := l.Path(names...)
	if err := os.MkdirAll(p, 0o700); err != nil {
		return "", fmt.Errorf("lab: folder: %w", err)
	}
	return p, nil
}

// Context ends when the lab begins to close.
func (l *Lab) Context() context.Context { return l.ctx }

// Elapsed is the time since New.
func (l *Lab) Elapsed() time.Duration { return time.Since(l.start) }

// Logf prints one progress line with the time since New: "[ 3.2s] text".
func (l *Lab) Logf(format string, args ...any) {
	if l.opts.Out == nil {
		return
	}
	l.outMu.Lock()
	defer l.outMu.Unlock()
	fmt.Fprintf(l.opts.Out, "[%6.1fs] %s\n", l.Elapsed().Seconds(), fmt.Sprintf(format, args...))
}

// Defer registers fn to run in Close, after everything registered later.
// If the lab is closing already, fn runs at once.
func (l *Lab) Defer(name string, fn func() error) {
	l.mu.Lock()
	if l.closing == nil {
		l.undo = append(l.undo, undoStep{name, fn})
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	if err := fn(); err != nil {
		l.Logf("close %s: %v", name, err)
	}
}

// Unexpected lists the processes that ended without having been told to, each
// with the end of its log.
func (l *Lab) Unexpected() []error {
	l.mu.Lock()
	procs := append([]*Proc(nil), l.procs...)
	l.mu.Unlock()
	var errs []error
	for _, p := range procs {
		if err := p.unexpected(); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Close undoes everything in reverse order and returns all that went wrong.
// Only the first call does something; later ones wait for it and return the same. Once
// a signal ends the process it does not return: what its caller makes of that is not why.
func (l *Lab) Close() error {
	err := l.close()
	l.mu.Lock()
	ending := l.ending
	l.mu.Unlock()
	if ending {
		select {}
	}
	return err
}

func (l *Lab) close() error {
	l.mu.Lock()
	if l.closing != nil {
		done := l.closing
		l.mu.Unlock()
		<-done
		return l.err
	}
	l.closing = make(chan struct{})
	l.mu.Unlock()
	l.cancel()

	var errs []error
	for {
		l.mu.Lock()
		n := len(l.undo)
		if n == 0 {
			l.mu.Unlock()
			break
		}
		step := l.undo[n-1]
		l.undo = l.undo[:n-1]
		l.mu.Unlock()
		if err := step.fn(); err != nil {
			errs = append(errs, fmt.Errorf("lab: close %s: %w", step.name, err))
		}
	}
	l.spawn.close()
	l.mu.Lock()
	keep := l.keep
	l.mu.Unlock()
	if keep {
		errs = append(errs, l.keepDir())
	} else if err := os.RemoveAll(l.dir); err != nil {
		errs = append(errs, fmt.Errorf("lab: work folder: %w", err))
	}
	l.err = errors.Join(errs...)
	close(l.closing)
	return l.err
}

// Keep makes Close keep the work folder, for one who finds only at work that
// there is something to read in it, and returns where it will be.
func (l *Lab) Keep() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep = true
	return l.keptDir()
}

func (l *Lab) keptDir() string { return filepath.Join(os.TempDir(), keptPrefix+l.id) }

// keepDir gives the work folder a name that no later run takes for a dead one's.
func (l *Lab) keepDir() error {
	kept := l.keptDir()
	if err := os.Rename(l.dir, kept); err != nil {
		return fmt.Errorf("lab: keep the work folder: %w", err)
	}
	l.Logf("kept the logs and captures in %s", kept)
	return nil
}

// catchSignals closes the lab on SIGINT or SIGTERM and ends the process.
func (l *Lab) catchSignals() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	l.undo = append(l.undo, undoStep{"signal handler", func() error {
		signal.Stop(signals)
		close(done)
		return nil
	}})
	go func() {
		select {
		case <-done:
		case s := <-signals:
			l.Logf("%v: cleaning up", s)
			l.mu.Lock()
			l.ending = true
			l.mu.Unlock()
			if err := l.close(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			os.Exit(128 + int(s.(syscall.Signal)))
		}
	}()
}

// pollEvery is how often the lab looks again at a condition that cannot be
// waited for: short beside a guest's boot, long beside a stat.
const pollEvery = 10 * time.Millisecond

// WaitFor polls cond until it is true, the lab closes, or the time is over.
//
//	error: names what was waited for and how long
func (l *Lab) WaitFor(what string, timeout time.Duration, cond func() bool) error {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if cond() {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("lab: no %s within %v", what, timeout)
		case <-l.ctx.Done():
			return fmt.Errorf("lab: closed while waiting for %s", what)
		}
	}
}
