package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/cmd/internal/cli"
	"baton/hostapi"
)

// asProgram makes the test's binary batonctl, with these arguments, by lines.
const asProgram = "BATONCTL_TEST_ARGS"

func TestMain(m *testing.M) {
	if args, ok := os.LookupEnv(asProgram); ok {
		os.Exit(run(strings.Split(args, "\n")))
	}
	os.Exit(m.Run())
}

// interrupted runs an upgrade against h that is interrupted at the second question.
func interrupted(t *testing.T, h *upgradeHost) (string, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	h.asked = func(n int) {
		if n == 2 {
			cancel()
		}
	}
	return batonctl(ctx, "--host-socket", serveUpgrade(t, h), "upgrade")
}

func TestUpgrade_InterruptedIsRolledBack(t *testing.T) {
	h := &upgradeHost{steps: []hostapi.Upgrade{under("move", "moved", "prepared")}, back: rolledBack("context canceled")}
	out, err := interrupted(t, h)
	if err == nil || err.Error() != "upgrade rolled back, process 7 has all ports as before: interrupted: context canceled" || h.off != 1 || h.why != "interrupted" {
		t.Errorf("called off %d times, for %q: %v", h.off, h.why, err)
	}
	for _, want := range []string{"interrupted: calling the upgrade off", "\n  vm1 back\n", "\nstate "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// What is done when it is to be called off is done.
func TestUpgrade_InterruptedTooLate(t *testing.T) {
	h := &upgradeHost{steps: wholeUpgrade(), late: errors.New("no upgrade is under way")}
	out, err := interrupted(t, h)
	if err != nil || !strings.Contains(out, "not called off: ") || !strings.Contains(out, "\ntoo late to call it off") || !strings.Contains(words(out), "state done") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestUpgrade_Timeout(t *testing.T) {
	for told, want := range map[string]string{ // an older batond tells no reason
		"aborted by an operator": "it took longer than --timeout: aborted by an operator",
		"after port vm1: aborted by an operator: it took longer than --timeout": "after port vm1: aborted by an operator: it took longer than --timeout",
	} {
		h := &upgradeHost{steps: []hostapi.Upgrade{under("prepare", "waiting")}, back: rolledBack(told)}
		out, err := upgrade(t, h, "--timeout", "10ms")
		if err == nil || !strings.HasSuffix(err.Error(), "as before: "+want) || h.off != 1 || h.why != "it took longer than --timeout" {
			t.Errorf("called off %d times, for %q: %v\n%s", h.off, h.why, err, out)
		}
	}
}

// One Ctrl-C rolls back, a second one ends the program alone.
func TestUpgrade_Signals(t *testing.T) {
	for _, twice := range []bool{false, true} {
		h := &upgradeHost{steps: []hostapi.Upgrade{under("move", "moved")}, back: rolledBack("context canceled")}
		signals := make(chan os.Signal, 1)
		if twice {
			h.back = h.steps // for ever
		}
		h.asked = func(n int) {
			if n == 1 || twice && h.off > 0 {
				select {
				case signals <- os.Interrupt:
				default:
				}
			}
		}
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), asProgram+"=upgrade\n--host-socket\n"+serveUpgrade(t, h))
		var out strings.Builder
		c.Stdout, c.Stderr = &out, &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		end := make(chan error, 1)
		go func() { end <- c.Wait() }()
		for running := true; running; {
			select {
			case s := <-signals:
				if err := c.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Fatal(err)
				}
			case <-end:
				running = false
			}
		}
		status := c.ProcessState.Sys().(syscall.WaitStatus)
		if !twice && status.ExitStatus() != cli.ExitFailed || twice && status.Signal() != syscall.SIGINT {
			t.Errorf("twice %v: %v\n%s", twice, c.ProcessState, out.String())
		}
	}
}

func TestUpgradeAbort(t *testing.T) {
	h := &upgradeHost{steps: []hostapi.Upgrade{under("move", "moved")}, back: rolledBack("context canceled")}
	if out, err := upgrade(t, h, "abort", "--reason", "it is late"); err != nil || h.off != 1 || h.why != "it is late" || !strings.HasPrefix(words(out), "PORT STATE INTERRUPTION-US RELAYED WAITED LOST vm1 back") {
		t.Errorf("called off %d times: %v\n%s", h.off, err, out)
	}
	h = &upgradeHost{late: errors.New("no upgrade is under way")}
	if out, err := upgrade(t, h, "abort"); err == nil || !strings.Contains(err.Error(), "no upgrade is under way") {
		t.Errorf("%v\n%s", err, out)
	}
	h = &upgradeHost{back: wholeUpgrade()}
	if out, err := upgrade(t, h, "abort"); err == nil || !strings.Contains(err.Error(), "not rolled back, its state is done") {
		t.Errorf("done before: %v\n%s", err, out)
	}
}

// The API goes from one process to the next, on the same socket or on one that was made
// anew: whoever follows sees the upgrade's end.
func TestUpgrade_SwitchOver(t *testing.T) {
	steps := wholeUpgrade()
	for name, next := range map[string]func(s *hostapi.Server, path string, src hostapi.Source) (*hostapi.Server, error){
		"same socket": func(s *hostapi.Server, _ string, src hostapi.Source) (*hostapi.Server, error) {
			f, err := s.Listener()
			if err != nil {
				return nil, err
			}
			defer f.Close()
			l, err := net.FileListener(f)
			if err != nil {
				return nil, err
			}
			err = s.Leave()
			<-time.After(3 * pollEvery) // questions wait
			return hostapi.ServeOn(l.(*net.UnixListener), src), err
		},
		"new socket": func(s *hostapi.Server, path string, src hostapi.Source) (*hostapi.Server, error) {
			if err := s.Close(); err != nil {
				return nil, err
			}
			<-time.After(3 * pollEvery) // questions are in vain
			return hostapi.Serve(path, src)
		},
	} {
		t.Run(name, func(t *testing.T) {
			leave := make(chan struct{})
			first := &upgradeHost{steps: []hostapi.Upgrade{steps[3]}, asked: func(n int) {
				if n == 2 {
					close(leave)
				}
			}}
			path := t.TempDir() + "/s"
			s, err := hostapi.Serve(path, first)
			if err != nil {
				t.Fatal(err)
			}
			end := make(chan error, 1)
			go func() {
				<-leave
				var err error
				s, err = next(s, path, &upgradeHost{steps: steps[4:]})
				end <- err
			}()
			out, err := batonctl(context.Background(), "--host-socket", path, "upgrade")
			if err != nil || !strings.Contains(words(out), "state done process 8") {
				t.Errorf("%v\n%s", err, out)
			}
			if err := <-end; err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Nobody answers any more: patience ends.
func TestFollow_NobodyAnswers(t *testing.T) {
	f := newFollower("/nowhere/b.sock")
	f.patience = 2 * pollEvery
	begun := time.Now()
	_, err := f.follow(context.Background())
	if err == nil || !strings.Contains(err.Error(), "no answer for 100ms") || !errors.Is(err, hostapi.ErrUnanswered) {
		t.Errorf("%v", err)
	}
	if d := time.Since(begun); d < f.patience {
		t.Errorf("given up after %v", d)
	}
}
