package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"baton/test/lab"
)

// demoLimit bounds a whole run: what the README promises on two cores.
const demoLimit = 5 * time.Minute

// demoReport is the JSON of the demo, as scripts read it.
type demoReport struct {
	OK      bool     `json:"ok"`
	Seconds float64  `json:"seconds"`
	Errors  []string `json:"errors"`
	Checks  []struct {
		What     string `json:"what"`
		From     string `json:"from"`
		To       string `json:"to"`
		Where    string `json:"where"`
		Unit     string `json:"unit"`
		Sent     int64  `json:"sent"`
		Received int64  `json:"received"`
		Lost     int64  `json:"lost"`
		Detail   string `json:"detail"`
		OK       bool   `json:"ok"`
	} `json:"checks"`
}

// demo is a run of bin/baton-demo. All that it makes in the file system lies in
// a folder of its own, whose name also marks its processes.
type demo struct {
	t    *testing.T
	cmd  *exec.Cmd
	dir  string
	json string
	done chan struct{} // closed when it has ended

	mu  sync.Mutex // guards out
	out bytes.Buffer
}

// Write implements io.Writer for the demo's output.
func (d *demo) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.Write(p)
}

func (d *demo) output() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.String()
}

// startDemo starts the demo with its default example, or another one.
func startDemo(t *testing.T, example string) *demo {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	dir, err := os.MkdirTemp("/tmp", "e2e-") // short: sockets lie in it
	must(t, err)
	d := &demo{t: t, dir: dir, json: filepath.Join(t.TempDir(), "result.json"), done: make(chan struct{})}
	args := []string{"-json", d.json}
	if example != "" {
		args = append(args, "-example", example)
	}
	d.cmd = exec.Command(filepath.Join(binDir(t), "baton-demo"), args...)
	d.cmd.Dir, d.cmd.Env = repoRoot(t), append(os.Environ(), "TMPDIR="+dir)
	d.cmd.Stdout, d.cmd.Stderr = d, d
	must(t, d.cmd.Start())
	go func() {
		defer close(d.done)
		_ = d.cmd.Wait() // the exit code is in ProcessState
	}()
	t.Cleanup(func() {
		select {
		case <-d.done:
		default:
			_ = d.cmd.Process.Signal(syscall.SIGTERM)
			<-d.done
		}
		if t.Failed() {
			t.Logf("the demo's output:\n%s", d.output())
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return d
}

// waitDemo polls cond; the demo has no lab of this process.
func (d *demo) waitDemo(what string, limit time.Duration, cond func() bool) {
	d.t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			d.t.Fatalf("no %s within %v", what, limit)
		}
	}
}

// waitLine waits until the demo has printed text.
func (d *demo) waitLine(text string) {
	d.t.Helper()
	d.waitDemo(fmt.Sprintf("line with %q", text), demoLimit, func() bool {
		select {
		case <-d.done:
			if !strings.Contains(d.output(), text) {
				d.t.Fatalf("the demo ended before it said %q", text)
			}
		default:
		}
		return strings.Contains(d.output(), text)
	})
}

// wait waits for the end and returns the exit code.
func (d *demo) wait() int {
	d.t.Helper()
	select {
	case <-d.done:
	case <-time.After(demoLimit):
		d.t.Fatalf("the demo still runs after %v", demoLimit)
	}
	return d.cmd.ProcessState.ExitCode()
}

// report reads the JSON that the demo wrote; a key that we do not know is an
// error, since scripts rely on them.
func (d *demo) report() (r demoReport) {
	d.t.Helper()
	data, err := os.ReadFile(d.json)
	must(d.t, err)
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	must(d.t, dec.Decode(&r))
	return r
}

// processes lists those that the demo started, by the folder's name in their
// command line or environment.
func (d *demo) processes() (pids []int, lines []string) {
	entries, err := os.ReadDir("/proc")
	must(d.t, err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == d.cmd.Process.Pid {
			continue
		}
		args, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if bytes.Contains(args, []byte(d.dir)) || bytes.Contains(env, []byte("TMPDIR="+d.dir)) {
			pids = append(pids, pid)
			lines = append(lines, string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return pids, lines
}

// namespaces lists the demo's.
func (d *demo) namespaces() (names []string) {
	found, err := filepath.Glob(fmt.Sprintf("/run/netns/baton-ns-%d-*", d.cmd.Process.Pid))
	must(d.t, err)
	return found
}

// files lists what is in the demo's folder.
func (d *demo) files() []string {
	found, err := filepath.Glob(filepath.Join(d.dir, "*"))
	must(d.t, err)
	return found
}

// nothingLeft checks that of the demo nothing is left: no process, namespace,
// file, socket, and no huge page that belongs to nobody.
func (d *demo) nothingLeft() {
	d.t.Helper()
	if _, lines := d.processes(); len(lines) > 0 {
		d.t.Errorf("processes left:\n%s", strings.Join(lines, "\n"))
	}
	if left := append(d.namespaces(), d.files()...); len(left) > 0 {
		d.t.Errorf("left: %q", left)
	}
	if stray := strayHugePages(d.t); stray > 0 {
		// What others start or end while we count is put right by counting again.
		d.waitDemo("owner of every huge page in use", waitLimit, func() bool { return strayHugePages(d.t) <= 0 })
	}
}

// strayHugePages is how many KiB of huge pages are in use beyond what the
// processes of this machine have mapped.
func strayHugePages(t testing.TB) int {
	t.Helper()
	info, err := os.ReadFile("/proc/meminfo")
	must(t, err)
	used := (number(info, "HugePages_Total:") - number(info, "HugePages_Free:")) * number(info, "Hugepagesize:")
	maps, err := filepath.Glob("/proc/[0-9]*/smaps_rollup")
	must(t, err)
	for _, m := range maps {
		if data, err := os.ReadFile(m); err == nil { // else the process has ended
			used -= number(data, "Shared_Hugetlb:") + number(data, "Private_Hugetlb:")
		}
	}
	return used
}

// number is the number behind a key of a file of /proc, 0 if there is none.
func number(data []byte, key string) int {
	_, rest, _ := strings.Cut(string(data), key)
	n := 0
	fmt.Sscan(rest, &n)
	return n
}

// TestDemo is the main job, as a newcomer runs it.
func TestDemo(t *testing.T) {
	d := startDemo(t, "")
	if code := d.wait(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	r := d.report()
	if !r.OK || len(r.Errors) > 0 || r.Seconds <= 0 || r.Seconds > demoLimit.Seconds() {
		t.Errorf("ok %v, errors %q, %.1f s; want ok in at most %v", r.OK, r.Errors, r.Seconds, demoLimit)
	}
	got := map[string]int{}
	for _, k := range r.Checks {
		if !k.OK || k.Lost != k.Sent-k.Received || k.What == "" || k.From == "" || k.Where == "" || k.Unit == "" || k.Detail == "" {
			t.Errorf("check %+v: not ok, incomplete, or its numbers do not add up", k)
		}
		if k.What != "counters" && k.Lost != 0 { // of counters: what was dropped for a reason
			t.Errorf("check %+v: lost %d", k, k.Lost)
		}
		got[k.What+": "+k.Where]++
	}
	for where, n := range map[string]int{
		"ping: same host, same switch": 2, "ping: across hosts, same switch": 4, "ping: same host, through the router": 2,
		"ping: across hosts, through the router": 4, "ping: gateway": 4,
		"ping: across hosts, same switch, full MTU": 1, "ping: across hosts, through the router, full MTU": 1,
		"bulk TCP: across hosts, same switch": 1, "bulk TCP: across hosts, through the router": 1,
		"Geneve: tshark: VNI and option of every tunnel packet": 1, "Geneve: packets of VMs outside Geneve (want none)": 1,
		"counters: all ports: in + made = out + dropped": 2,
	} {
		if got[where] != n {
			t.Errorf("%d checks of %q, want %d", got[where], where, n)
		}
		delete(got, where)
	}
	for where := range got {
		t.Errorf("an unexpected check: %s", where)
	}
	out := d.output()
	if want := fmt.Sprintf("ok: %d of %d checks passed", len(r.Checks), len(r.Checks)); !strings.Contains(out, want) {
		t.Errorf("the table does not end with %q", want)
	}
	if rows := len(regexp.MustCompile(`(?m)^(ping|bulk TCP|Geneve|counters) .* ok$`).FindAllString(out, -1)); rows != len(r.Checks) {
		t.Errorf("the table has %d rows, the JSON %d checks", rows, len(r.Checks))
	}
	d.nothingLeft()
}

// TestDemo_Interrupted ends the demo in the middle, in three ways.
func TestDemo_Interrupted(t *testing.T) {
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		after  string // what it has said by then
	}{
		{"SIGINT", syscall.SIGINT, "booting vm4"},
		{"SIGTERM", syscall.SIGTERM, "starting batond on host2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := startDemo(t, "")
			d.waitLine(c.after)
			must(t, d.cmd.Process.Signal(c.signal))
			if code := d.wait(); code != 128+int(c.signal) {
				t.Errorf("exit code %d, want %d", code, 128+int(c.signal))
			}
			d.nothingLeft()
		})
	}
	t.Run("SIGKILL", func(t *testing.T) {
		d := startDemo(t, "")
		d.waitLine("booting vm4")
		if pids, _ := d.processes(); len(pids) == 0 || len(d.namespaces()) == 0 || len(d.files()) == 0 {
			t.Fatalf("nothing of the running demo is found: %d processes, namespaces %q, files %q", len(pids), d.namespaces(), d.files())
		}
		must(t, d.cmd.Process.Kill())
		d.wait()
		d.waitDemo("end of the processes of a dead demo", waitLimit, func() bool {
			_, lines := d.processes()
			return len(lines) == 0
		})
		t.Setenv("TMPDIR", d.dir) // the next run, which begins by cleaning up
		l, err := lab.New(lab.Options{})
		must(t, err)
		must(t, l.Close())
		d.nothingLeft()
	})
}

// TestDemo_BrokenExample gives the demo networks that cannot work.
func TestDemo_BrokenExample(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(repoRoot(t), "examples", "first-light.yaml"))
	must(t, err)
	edit := func(old, now string) string {
		text := strings.Replace(string(good), old, now, 1)
		if text == string(good) {
			t.Fatalf("the example has no %q", old)
		}
		return file(t, "net.yaml", text)
	}
	for _, c := range []struct {
		name, example string
		want          []string // in one line
	}{
		{"NoSuchFile", "/nowhere/net.yaml", []string{"/nowhere/net.yaml", "no such file"}},
		{"BadYAML", file(t, "net.yaml", "kind: ["), []string{"net.yaml", "not YAML"}},
		{"UnknownHost", edit("ip: 10.0.1.12\nhost: host1", "ip: 10.0.1.12\nhost: host7"), []string{"port vm2", "host host7 is not in the file"}},
		{"DuplicateIP", edit("ip: 10.0.1.12\n", "ip: 10.0.1.11\n"), []string{"port vm2", "10.0.1.11 is already the IP of port vm1"}},
		{"UnknownSwitch", edit("switch: green\nrouter", "switch: gren\nrouter"), []string{"port vm4", "no router's port on its switch"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := startDemo(t, c.example)
			if code := d.wait(); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			found := false
			for line := range strings.Lines(d.output()) {
				has := strings.Contains(line, "error: ") || strings.Contains(line, "net.yaml:")
				for _, part := range c.want {
					has = has && strings.Contains(line, part)
				}
				found = found || has
			}
			if !found {
				t.Errorf("no line with %q", c.want)
			}
			if r := d.report(); r.OK || len(r.Errors) == 0 {
				t.Errorf("JSON: ok %v, errors %q; want the error", r.OK, r.Errors)
			}
			d.nothingLeft()
		})
	}
}

// TestDemo_DeadHost kills one batond while the VMs ping: the demo must fail, and
// say where.
func TestDemo_DeadHost(t *testing.T) {
	d := startDemo(t, "")
	d.waitLine("ok   ping vm1 -> vm2")
	killed := false
	pids, lines := d.processes()
	for i, line := range lines {
		if strings.Contains(line, "bin/batond ") && strings.Contains(line, "host2.yaml") {
			must(t, syscall.Kill(pids[i], syscall.SIGKILL))
			killed = true
		}
	}
	if !killed {
		t.Fatalf("host2's batond is not among\n%s", strings.Join(lines, "\n"))
	}
	if code := d.wait(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	r, out := d.report(), d.output()
	if r.OK || !strings.Contains(strings.Join(r.Errors, "\n"), "batond-host2 ended by itself") {
		t.Errorf("JSON: ok %v, errors %q; want batond-host2's end", r.OK, r.Errors)
	}
	if !strings.Contains(out, "error: lab: batond-host2 ended by itself") || !regexp.MustCompile(`(?m)^FAIL: \d+ of \d+ checks passed`).MatchString(out) {
		t.Error("the output does not name batond-host2, or does not end with FAIL")
	}
	d.nothingLeft()
}
