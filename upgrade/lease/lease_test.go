package lease_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"baton/upgrade/lease"
)

// What a child does, as the test's own program: it holds a lease of the board in descriptor
// 3 and says so, and dies as it is told.
const (
	deathEnv  = "BATON_LEASE_DEATH"
	memoryEnv = "BATON_LEASE_MEMORY" // of its own, MiB
)

// The main goroutine keeps the process's first thread, which Go never ends.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if death := os.Getenv(deathEnv); death != "" {
		child(death)
		return
	}
	os.Exit(m.Run())
}

// deaths are what a worker dies of.
var deaths = map[string]func(*lease.Lease){
	"SIGKILL by another": func(*lease.Lease) { select {} },
	"SIGSEGV of Go's":    func(*lease.Lease) { *(*int)(nil) = 1 },
	"SIGSEGV of a thread": func(*lease.Lease) {
		p, _ := unix.Mmap(-1, 0, 4096, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
		*(*byte)(unsafe.Pointer(&p[0])) = 1 // no address of Go's: a fatal error
	},
	"panic":              func(*lease.Lease) { panic("worker") },
	"exit":               func(*lease.Lease) { os.Exit(3) },
	"SIGABRT":            func(*lease.Lease) { unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGABRT); select {} },
	"the thread's alone": func(*lease.Lease) { runtime.Goexit() }, // locked: the thread ends
}

func child(death string) {
	b, err := lease.Open(os.NewFile(3, "board"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if torn[death] != nil {
		tear(b, death)
	}
	mib, _ := strconv.Atoi(os.Getenv(memoryEnv))
	if mib > 0 { // in small pages, all there
		m, err := unix.Mmap(-1, 0, mib<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err == nil {
			err = unix.Madvise(m, unix.MADV_NOHUGEPAGE)
		}
		if err == nil {
			err = unix.Madvise(m, unix.MADV_POPULATE_WRITE)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	go func() {
		runtime.LockOSThread()
		l, err := b.Hold(5)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		bufio.NewReader(os.Stdin).ReadString('\n')
		deaths[death](l)
	}()
	select {}
}

// command is a child with the board.
func command(b *lease.Board, death string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), deathEnv+"="+death)
	cmd.ExtraFiles = []*os.File{b.File()}
	return cmd
}

// start runs a child that holds lease 5.
func start(t testing.TB, b *lease.Board, death string) (cmd *exec.Cmd, die func()) {
	t.Helper()
	cmd = command(b, death)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return cmd, func() { in.Close() }
}

func board(t *testing.T) *lease.Board {
	t.Helper()
	b, err := lease.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// Whatever a worker dies of, who waits learns it, and can take what it held.
func TestDeaths(t *testing.T) {
	for death := range deaths {
		t.Run(death, func(t *testing.T) {
			b := board(t)
			cmd, die := start(t, b, death)
			if s := b.State(5); s.Holder == 0 || s.Died {
				t.Fatalf("before: %v", s)
			}
			if s := b.Wait(5, 20*time.Millisecond); s.Holder == 0 {
				t.Fatalf("alive, but %v", s)
			}
			seen := make(chan lease.State, 1)
			go func() { seen <- b.Wait(5, 10*time.Second) }()
			if strings.HasPrefix(death, "SIGKILL") {
				cmd.Process.Kill()
			}
			die()
			if s := <-seen; !s.Died || s.Holder != 0 {
				t.Fatalf("after: %v", s)
			}
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			l, err := b.Hold(5)
			if err != nil {
				t.Fatal(err)
			}
			if s := b.State(5); s.Holder != unix.Gettid() || s.Died {
				t.Errorf("taken over: %v", s)
			}
			if err := l.Free(); err != nil || b.State(5) != (lease.State{}) {
				t.Errorf("freed: %v, %v", err, b.State(5))
			}
		})
	}
}

// A lease has one holder: another thread and another process get nothing of it, and cannot
// free it.
func TestOneHolder(t *testing.T) {
	b := board(t)
	start(t, b, "exit")
	if _, err := b.Hold(5); !errors.Is(err, lease.ErrHeld) {
		t.Errorf("another process': %v", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var held []*lease.Lease
	for i := range 3 { // several of one thread
		l, err := b.Hold(i)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if _, err := b.Hold(1); !errors.Is(err, lease.ErrHeld) {
			t.Errorf("another thread's: %v", err)
		}
		if err := held[1].Free(); err == nil {
			t.Error("freed by another thread")
		}
	}()
	<-done
	for _, i := range []int{1, 2, 0} { // out of the middle first
		if err := held[i].Free(); err != nil {
			t.Error(err)
		}
	}
	for i := range 3 {
		if s := b.State(i); s != (lease.State{}) {
			t.Errorf("%d: %v", i, s)
		}
	}
}

// Of many who want a lease whose holder died one gets it, again and again.
func TestContenders(t *testing.T) {
	b := board(t)
	for range 200 {
		dead := make(chan struct{})
		go func() {
			defer close(dead)
			runtime.LockOSThread() // and never unlocked: the thread ends with it
			if _, err := b.Hold(0); err != nil {
				t.Error(err)
			}
		}()
		<-dead
		if s := b.Wait(0, 10*time.Second); !s.Died {
			t.Fatalf("%v", s)
		}
		got := make(chan *lease.Lease)
		release := make(chan struct{})
		const num = 4
		for range num {
			go func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				l, err := b.Hold(0)
				if err != nil && !errors.Is(err, lease.ErrHeld) {
					t.Error(err)
				}
				got <- l
				<-release
				if l != nil {
					if err := l.Free(); err != nil {
						t.Error(err)
					}
				}
				got <- nil
			}()
		}
		holders := 0
		for range num {
			if <-got != nil {
				holders++
			}
		}
		close(release)
		for range num {
			<-got
		}
		if holders != 1 {
			t.Fatalf("%d holders", holders)
		}
	}
}

// A file that is no board is refused: it could be taken away from under who maps it.
func TestOpen(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := lease.Open(f); !errors.Is(err, lease.ErrSize) {
		t.Errorf("an empty file: %v", err)
	}
	if err := f.Truncate(1 << 16); err != nil {
		t.Fatal(err)
	}
	if _, err := lease.Open(f); !errors.Is(err, lease.ErrSize) {
		t.Errorf("a file on disk: %v", err)
	}
}
