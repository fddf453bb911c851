package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"baton/test/cluster"
	"baton/test/lab"
)

// testpmdConfig says how DPDK's testpmd runs as a VM.
type testpmdConfig struct {
	Name   string // of the log; one for each start
	Socket string
	Server bool // testpmd listens, as QEMU does for a batond in client mode
	Queues int
	VM     endpoint
	Peer   endpoint // whom txonly sends to
}

// testpmd is DPDK's testpmd with one net_virtio_user port: another vendor's
// virtio driver and vhost-user front end.
type testpmd struct {
	proc  *lab.Proc
	stdin *os.File
	cfg   testpmdConfig
	read  int // bytes of the log that count has seen
}

// startTestpmd starts testpmd; it forwards nothing before start. It ends with
// the test, or by quit.
func startTestpmd(t *testing.T, c *cluster.Cluster, cfg testpmdConfig) *testpmd {
	t.Helper()
	fifo := c.Lab.Path(cfg.Name + ".in")
	must(t, syscall.Mkfifo(fifo, 0o600))
	// Open for both, so that opening never waits and testpmd never sees an end.
	stdin, err := os.OpenFile(fifo, os.O_RDWR, 0)
	must(t, err)
	vdev := fmt.Sprintf("net_virtio_user0,path=%s,queues=%d,mac=%v", cfg.Socket, cfg.Queues, cfg.VM.MAC)
	if cfg.Server {
		vdev += ",server=1"
	}
	queues := strconv.Itoa(cfg.Queues)
	proc, err := c.Lab.Start(lab.ProcConfig{
		Name: cfg.Name, Path: "sh", Once: true,
		Args: []string{"-c", `fifo=$1; shift; exec stdbuf -oL dpdk-testpmd "$@" <"$fifo"`, "sh", fifo,
			"--no-pci", "--no-huge", "-m", "128", "--no-shconf", "--no-telemetry", "-l", "0-1", "--vdev", vdev,
			"--", "-i", "--rxq=" + queues, "--txq=" + queues, "--total-num-mbufs=8192", "--no-flush-rx",
			"--eth-peer=0," + cfg.Peer.MAC.String(), fmt.Sprintf("--tx-ip=%v,%v", cfg.VM.IP, cfg.Peer.IP)},
	})
	must(t, err)
	t.Cleanup(func() { stdin.Close() })
	return &testpmd{proc: proc, stdin: stdin, cfg: cfg}
}

// say gives testpmd a command.
func (p *testpmd) say(t *testing.T, command string) {
	t.Helper()
	_, err := p.stdin.WriteString(command + "\n")
	must(t, err)
}

// start begins to forward in a mode: txonly, rxonly, io, macswap.
func (p *testpmd) start(t *testing.T, mode string) {
	t.Helper()
	p.say(t, "set fwd "+mode)
	p.say(t, "start")
	line := mode + " packet forwarding - ports="
	must(t, p.proc.WaitUntil(line, waitLimit, func() bool { return strings.Contains(p.proc.Log()[p.read:], line) }))
}

var testpmdCount = regexp.MustCompile(`(RX|TX)-packets: (\d+)`)

// stopForwarding ends what start began and returns testpmd's own counts of
// packets since then.
func (p *testpmd) stopForwarding(t *testing.T) (rx, tx uint64) {
	t.Helper()
	p.say(t, "stop")
	var report string
	must(t, p.proc.WaitUntil("counts of testpmd", waitLimit, func() bool {
		log := p.proc.Log()
		var whole bool
		report, _, whole = strings.Cut(log[p.read:], "Accumulated forward statistics")
		return whole && strings.Contains(log[p.read+len(report):], "Done.")
	}))
	p.read = len(p.proc.Log())
	for _, m := range testpmdCount.FindAllStringSubmatch(report[strings.LastIndex(report, "Forward statistics for port 0"):], -1) {
		n, err := strconv.ParseUint(m[2], 10, 64)
		must(t, err)
		if m[1] == "RX" {
			rx = n
		} else {
			tx = n
		}
	}
	return rx, tx
}

// quit ends testpmd and waits for its end.
func (p *testpmd) quit(t *testing.T) {
	t.Helper()
	p.say(t, "quit")
	code, err := p.proc.WaitExit(waitLimit)
	must(t, err)
	if code != 0 {
		t.Fatalf("%s ended with code %d:\n%s", p.cfg.Name, code, p.proc.LogTail(20))
	}
	if p.cfg.Server {
		// testpmd leaves its socket behind; QEMU does not.
		_ = os.Remove(filepath.Clean(p.cfg.Socket))
	}
}

// kill ends testpmd at once.
func (p *testpmd) kill(t *testing.T) {
	t.Helper()
	must(t, p.proc.Signal(syscall.SIGKILL))
	_, err := p.proc.WaitExit(waitLimit)
	must(t, err)
}
