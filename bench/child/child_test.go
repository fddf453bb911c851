package child_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"baton/bench/child"
)

// env tells the test program that it is a child.
const env = "BATON_TEST_CHILD"

type order struct {
	Do    string `json:"do"` // add, fail, garbage, exit
	Value int    `json:"value"`
}

type reply struct {
	Error string `json:"error,omitempty"`
	Value int    `json:"value"`
}

func TestMain(m *testing.M) {
	if os.Getenv(env) == "" {
		os.Exit(m.Run())
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			os.Exit(2)
		}
		switch o.Do {
		case "add":
			fmt.Printf("{\"value\":%d}\n", o.Value+1)
		case "fail":
			fmt.Println(`{"error":"no such thing"}`)
		case "garbage":
			fmt.Println("garbage")
		case "exit":
			os.Exit(o.Value)
		}
	}
	os.Exit(0)
}

func start(t *testing.T) *child.Process {
	t.Helper()
	p, err := child.Start("adder", env, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// gone says whether a process has ended and was waited for.
func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

func TestProcess(t *testing.T) {
	p := start(t)
	for i := range 3 {
		var r reply
		if err := p.Do("add", order{"add", i}, &r); err != nil || r.Value != i+1 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	for do, want := range map[string]string{"fail": "adder: fail: no such thing", "garbage": `adder: garbage: "garbage"`} {
		if err := p.Do(do, order{Do: do}, &reply{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", do, err)
		}
	}
	var r reply
	if err := p.Do("add", order{"add", 7}, &r); err != nil || r.Value != 8 {
		t.Errorf("after errors: %+v, %v", r, err)
	}
	if err := p.Close(); err != nil || !gone(p.Pid()) {
		t.Errorf("%v, gone: %v", err, gone(p.Pid()))
	}
}

// A paused one does nothing until it is resumed, and can be closed as it is.
func TestProcess_paused(t *testing.T) {
	p := start(t)
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	for state := ""; state != "T"; { // the kernel stops its threads one after the other
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		state, _, _ = strings.Cut(string(raw[strings.LastIndexByte(string(raw), ')')+2:]), " ")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestProcess_ended(t *testing.T) {
	p := start(t)
	if err := p.Do("exit", order{"exit", 3}, &reply{}); err == nil || !strings.Contains(err.Error(), "it ended") {
		t.Error(err)
	}
	if err := p.Do("add", order{"add", 1}, &reply{}); err == nil {
		t.Error("an order to nobody: no error")
	}
	if err := p.Close(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Error(err)
	}
	k := start(t)
	k.Kill()
	if !gone(k.Pid()) {
		t.Error("killed, and still there")
	}
}

func TestStart_refused(t *testing.T) {
	if p, err := child.Start("adder", env, 1000); err == nil {
		p.Kill()
		t.Error("a CPU that is not there")
	}
}
