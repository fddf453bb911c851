package lab

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netns"
)

// spawner starts all processes of a lab, and runs functions inside namespaces,
// on one thread of its own. A child that asks for a signal at its parent's
// death (PR_SET_PDEATHSIG) gets it when the *thread* that made it ends, so that
// thread must live as long as the lab; and a thread whose namespace could not
// be set back never serves anyone else.
type spawner struct {
	work chan func()
	quit chan struct{} // closed by close
	done chan struct{} // closed when the thread ends
}

var errClosed = errors.New("the lab is closed")

func newSpawner() *spawner {
	s := &spawner{work: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	go s.run()
	return s
}

// run serves until close. The thread stays locked, so it ends with the goroutine.
func (s *spawner) run() {
	defer close(s.done)
	runtime.LockOSThread()
	for {
		select {
		case fn := <-s.work:
			fn()
		case <-s.quit:
			return
		}
	}
}

// close ends the thread; what is asked of it later fails with errClosed.
func (s *spawner) close() {
	close(s.quit)
	<-s.done
}

// do runs fn on the spawner's thread.
func (s *spawner) do(fn func() error) error {
	result := make(chan error, 1)
	select {
	case s.work <- func() { result <- fn() }:
		return <-result
	case <-s.quit:
		return errClosed
	}
}

// within runs fn on the spawner's thread inside namespace n; nil means the
// lab's own.
func (s *spawner) within(n *Netns, fn func() error) error {
	if n == nil {
		return s.do(fn)
	}
	return s.do(func() error {
		home, err := netns.Get()
		if err != nil {
			return err
		}
		defer home.Close()
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter namespace %s: %w", n.name, err)
		}
		return errors.Join(fn(), netns.Set(home))
	})
}

// start starts cmd inside n, in a process group of its own, to die with us.
func (s *spawner) start(cmd *exec.Cmd, n *Netns) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return s.within(n, cmd.Start)
}
