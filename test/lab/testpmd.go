package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// testpmdLimit bounds each wait for testpmd.
const testpmdLimit = 20 * time.Second

// TestpmdConfig says how DPDK's testpmd runs as a VM.
type TestpmdConfig struct {
	Name            string // of the log; one for each start
	Socket          string
	Server          bool   // testpmd listens, as QEMU does for a batond in client mode
	Device          string // added to net_virtio_user's parameters: "packed_vq=1,in_order=0"
	Queues          int
	MAC, PeerMAC    net.HardwareAddr // its own, and whom txonly sends to
	IP, PeerIP      netip.Addr
	Cores           string // of EAL's -l; empty: 0-1
	ForwardingCores int    // 0: 1
}

// Testpmd is DPDK's testpmd with one net_virtio_user port: another vendor's
// virtio driver and vhost-user front end.
type Testpmd struct {
	*Proc
	stdin *os.File
	cfg   TestpmdConfig
	read  int // bytes of the log that count has seen
}

// StartTestpmd starts testpmd; it forwards nothing before Forward. It ends with
// the lab, or by Quit.
func (l *Lab) StartTestpmd(cfg TestpmdConfig) (*Testpmd, error) {
	fifo := l.Path(cfg.Name + ".in")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		return nil, fmt.Errorf("lab: %s: %w", fifo, err)
	}
	// Open for both, so that opening never waits and testpmd never sees an end.
	stdin, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("lab: %s: %w", cfg.Name, err)
	}
	l.Defer(cfg.Name+" input", func() error {
		_ = stdin.Close() // Quit may have closed it
		return nil
	})
	p := &Testpmd{stdin: stdin, cfg: cfg}
	p.Proc, err = l.Start(ProcConfig{
		Name: cfg.Name, Path: "sh", Once: true,
		Args: append([]string{"-c", `fifo=$1; shift; exec stdbuf -oL dpdk-testpmd "$@" <"$fifo"`, "sh", fifo}, cfg.args()...),
	})
	return p, err
}

func (cfg *TestpmdConfig) args() []string {
	vdev := fmt.Sprintf("net_virtio_user0,path=%s,queues=%d,mac=%v", cfg.Socket, cfg.Queues, cfg.MAC)
	if cfg.Server {
		vdev += ",server=1"
	}
	if cfg.Device != "" {
		vdev += "," + cfg.Device
	}
	cores, queues := cfg.Cores, strconv.Itoa(cfg.Queues)
	if cores == "" {
		cores = "0-1"
	}
	return []string{
		"--no-pci", "--no-huge", "-m", "128", "--no-shconf", "--no-telemetry", "-l", cores, "--vdev", vdev,
		"--", "-i", "--rxq=" + queues, "--txq=" + queues, "--total-num-mbufs=8192", "--no-flush-rx",
		fmt.Sprintf("--nb-cores=%d", max(1, cfg.ForwardingCores)),
		"--eth-peer=0," + cfg.PeerMAC.String(), fmt.Sprintf("--tx-ip=%v,%v", cfg.IP, cfg.PeerIP),
	}
}

// say gives testpmd a command.
func (p *Testpmd) say(command string) error {
	_, err := p.stdin.WriteString(command + "\n")
	return err
}

// Forward begins to forward in a mode: txonly, rxonly, io, macswap.
func (p *Testpmd) Forward(mode string) error {
	if err := errors.Join(p.say("set fwd "+mode), p.say("start")); err != nil {
		return err
	}
	line := mode + " packet forwarding - ports="
	return p.WaitUntil(line, testpmdLimit, func() bool { return strings.Contains(p.Log()[p.read:], line) })
}

var testpmdCount = regexp.MustCompile(`(RX|TX)-packets: (\d+)`)

// StopForwarding ends what Forward began and returns testpmd's own counts of
// packets since then.
func (p *Testpmd) StopForwarding() (rx, tx uint64, err error) {
	if err := p.say("stop"); err != nil {
		return 0, 0, err
	}
	var report string
	err = p.WaitUntil("counts of testpmd", testpmdLimit, func() bool {
		log := p.Log()
		var whole bool
		report, _, whole = strings.Cut(log[p.read:], "Accumulated forward statistics")
		return whole && strings.Contains(log[p.read+len(report):], "Done.")
	})
	if err != nil {
		return 0, 0, err
	}
	p.read = len(p.Log())
	_, counts, found := strings.Cut(report, "Forward statistics for port 0")
	if !found {
		return 0, 0, fmt.Errorf("lab: %s: no counts in %q", p.cfg.Name, report)
	}
	for _, m := range testpmdCount.FindAllStringSubmatch(counts, -1) {
		n, err := strconv.ParseUint(m[2], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		if m[1] == "RX" {
			rx = n
		} else {
			tx = n
		}
	}
	return rx, tx, nil
}

// Quit ends testpmd and waits for its end.
//
//	error: it ended with another code than 0
func (p *Testpmd) Quit() error {
	if err := p.say("quit"); err != nil {
		return err
	}
	code, err := p.WaitExit(testpmdLimit)
	if err != nil {
		return err
	}
	p.removeSocket()
	if code != 0 {
		return fmt.Errorf("lab: %s ended with code %d:\n%s", p.cfg.Name, code, p.LogTail(20))
	}
	return nil
}

// Crash ends testpmd at once.
func (p *Testpmd) Crash() {
	p.Kill()
	p.removeSocket()
}

// removeSocket: testpmd leaves a socket that it listened on behind; QEMU does not.
func (p *Testpmd) removeSocket() {
	if p.cfg.Server {
		_ = os.Remove(filepath.Clean(p.cfg.Socket))
	}
}
