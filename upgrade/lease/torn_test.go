package lease_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"baton/upgrade/lease"
)

// What a child of TestTorn does. In its thread's list there is a node of a page that cannot be
// written, so that the thread dies where it changes the list: with the word its own already, and the
// lease not in the list, or not any more.
var torn = map[string]func(b *lease.Board, spoil func()){
	"torn while it takes": func(b *lease.Board, spoil func()) {
		spoil()
		_, _ = b.Hold(5)
	},
	"torn while it frees": func(b *lease.Board, spoil func()) {
		l, err := b.Hold(5)
		if err != nil {
			return
		}
		spoil()
		_ = l.Free()
	},
}

// tear is the child's.
func tear(b *lease.Board, how string) {
	runtime.LockOSThread()
	other, err := lease.New()
	if err == nil {
		_, err = other.Hold(0)
	}
	if err == nil {
		torn[how](b, func() { err = other.Spoil(0) })
	}
	fmt.Println("alive:", err)
	os.Exit(1)
}

// A thread that dies between the word and its list has died with the lease all the same.
func TestTorn(t *testing.T) {
	for how := range torn {
		t.Run(how, func(t *testing.T) {
			b := board(t)
			out, err := command(b, how).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "unexpected fault address") {
				t.Fatalf("it did not die of the fault: %v, %s", err, out)
			}
			if s := b.State(5); !s.Died || s.Holder != 0 {
				t.Errorf("after: %v", s)
			}
		})
	}
}
