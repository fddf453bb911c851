//go:build amd64 && go1.26 && !go1.27 && goexperiment.greenteagc && !purego

package slice

import (
	"debug/dwarf"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The offsets are those that the compiler tells debuggers of.
func TestLayout(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs the go tool, to build a program with debug information")
	}
	dir := t.TempDir()
	src, bin := filepath.Join(dir, "main.go"), filepath.Join(dir, "main")
	if err := os.WriteFile(src, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool, "build", "-o", bin, src)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=", "GO111MODULE=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	types := structs(t, bin)
	for _, f := range []struct {
		typ, field string
		offset     int64
	}{
		{"g", "m", gM}, {"m", "curg", mCurg}, {"m", "p", mP},
		{"p", "id", pID}, {"p", "schedtick", pSchedtick}, {"p", "syscalltick", pSyscalltick}, {"p", "m", pM},
		{"p", "runqhead", pRunqhead}, {"p", "runqtail", pRunqtail}, {"p", "runnext", pRunnext}, {"p", "timers", pTimers},
		{"timers", "minWhenHeap", timersMinWhenHeap}, {"timers", "minWhenModified", timersMinWhenModified},
	} {
		if at, ok := types["runtime."+f.typ][f.field]; !ok || at != f.offset {
			t.Errorf("%s.%s is at %d (%v), not %d", f.typ, f.field, at, ok, f.offset)
		}
	}
}

// structs is where a program's structures have their fields.
func structs(t *testing.T, bin string) map[string]map[string]int64 {
	f, err := elf.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]int64{}
	for r := info.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return all
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		if e.Tag != dwarf.TagStructType || name != "runtime.g" && name != "runtime.m" && name != "runtime.p" && name != "runtime.timers" {
			continue
		}
		typ, err := info.Type(e.Offset)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = map[string]int64{}
		for _, field := range typ.(*dwarf.StructType).Field {
			all[name][field.Name] = field.ByteOffset
		}
	}
}
