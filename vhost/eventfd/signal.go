package eventfd

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Outcome is what became of a signal.
type Outcome uint8

// The outcomes.
const (
	Sent Outcome = iota
	Full         // the counter is full, so that a signal is pending already; seen by the fallback alone
	Bad          // no eventfd, or the kernel has no memory for a request
)

// Signaller signals eventfds through a number of AIO contexts.
//
//	conc: safe from any goroutine, but for Close
type Signaller struct {
	contexts []*context
	err      error
}

// Bounds of the number of contexts: one is in use for the time of one system call by
// one thread, of which there are as many as processors; twice that makes it rare to
// find one taken.
const (
	minContexts = 8
	maxContexts = 64
)

var shared = sync.OnceValue(func() *Signaller {
	return New(min(max(minContexts, 2*runtime.GOMAXPROCS(0)), maxContexts))
})

// Signal adds one to eventfd fd through the process's Signaller. It never waits for
// who else holds the eventfd, unless Err says that it may.
//
//	alloc: 0 after the first call
func Signal(fd int) Outcome { return shared().Signal(fd) }

// Err is why Signal falls back to write(2), so that a peer that works at it can make
// it wait: nil if it does not.
func Err() error { return shared().Err() }

var errNone = errors.New("no AIO contexts")

// New opens up to num contexts; fewer if the kernel gives no more, and with none the
// Signaller falls back to write(2).
func New(num int) *Signaller {
	s := &Signaller{err: errNone}
	for range num {
		c, err := open()
		if err != nil {
			s.err = err
			break
		}
		s.contexts = append(s.contexts, c)
	}
	if len(s.contexts) > 0 {
		s.err = nil
	}
	return s
}

// Err is Err of this Signaller.
func (s *Signaller) Err() error {
	if s.err == nil {
		return nil
	}
	return fmt.Errorf("eventfd: signals go by write(2), which a peer can make wait: %w", s.err)
}

// Close ends all contexts. Nobody signals any more.
func (s *Signaller) Close() {
	for _, c := range s.contexts {
		c.close()
	}
	s.contexts = nil
	s.err = errNone
}

// rounds is how often a signal is tried with all contexts while the kernel has no
// request for it: only memory can be what is missing.
const rounds = 4

// Signal is Signal of this Signaller.
func (s *Signaller) Signal(fd int) Outcome {
	if fd < 0 {
		return Bad
	}
	num := len(s.contexts)
	if num == 0 {
		return write(fd)
	}
	// Other eventfds begin elsewhere, so that workers rarely meet.
	for at, failed := fd, 0; failed < num*rounds; at++ {
		c := s.contexts[at%num]
		if !c.busy.CompareAndSwap(false, true) {
			if at-fd >= num {
				runtime.Gosched() // all were taken: their users are not running
			}
			continue
		}
		err := c.submit(fd)
		c.busy.Store(false)
		switch err {
		case 0:
			return Sent
		case unix.EAGAIN, unix.ENOMEM:
			failed++
		default: // EINVAL: no eventfd; EBADF: no descriptor
			return Bad
		}
	}
	return Bad
}

var one = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// write signals by write(2). The flag is set each time: a peer must take it back
// between the two calls, and have filled the counter, to make the second one wait.
func write(fd int) Outcome {
	if unix.SetNonblock(fd, true) != nil {
		return Bad
	}
	switch _, err := unix.Write(fd, one); err {
	case nil:
		return Sent
	case unix.EAGAIN:
		return Full
	}
	return Bad
}
