package machine_test

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"baton/bench/machine"
)

func TestLatency(t *testing.T) {
	if _, err := machine.Latency(0, 0); !errors.Is(err, machine.ErrOneCPU) {
		t.Errorf("one CPU: %v", err)
	}
	if _, err := machine.Latency(0, 1023); err == nil {
		t.Error("a CPU that is not there: no error")
	}
	if runtime.NumCPU() < 2 {
		t.Skip("one CPU")
	}
	d, err := machine.Latency(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if d <= 0 {
		t.Errorf("round trip of %v", d)
	}
}

func TestStateOf(t *testing.T) {
	for d, want := range map[time.Duration]machine.State{
		110 * time.Nanosecond: machine.Near, 500 * time.Nanosecond: machine.Far,
	} {
		if got := machine.StateOf(d); got != want {
			t.Errorf("%v is %s", d, got)
		}
	}
}

func TestWaited(t *testing.T) {
	if _, err := machine.Waited(os.Getpid()); err != nil {
		t.Skip(err)
	}
	if _, err := machine.Waited(-1); err == nil {
		t.Error("no thread: no error")
	}
}

func TestFindThread(t *testing.T) {
	if _, err := machine.FindThread(os.Getpid(), "no such thread"); err == nil {
		t.Error("no error")
	}
	if _, err := machine.FindThread(os.Getpid(), ""); err != nil {
		t.Error(err)
	}
}
