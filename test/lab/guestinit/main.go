package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"baton/test/lab/guestwire"

	"golang.org/x/sys/unix"
)

const requestPort = "/dev/ttyS1"

func main() {
	log.SetFlags(0)
	log.SetPrefix("guestinit: ")
	if os.Getpid() != 1 {
		log.Fatal("this program is /init of a guest of the lab; it does nothing elsewhere")
	}
	if err := run(); err != nil {
		log.Print(err) // on the console, which the lab keeps
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	if err := mountAll(); err != nil {
		return err
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	if err := os.Setenv("PATH", "/bin"); err != nil {
		return err
	}
	port, err := openSerial(requestPort)
	if err != nil {
		return fmt.Errorf("open %s: %w", requestPort, err)
	}
	defer port.Close()
	a := &agent{out: port}
	hello, err := newHello()
	if err != nil {
		return err
	}
	a.reply(guestwire.Response{Result: mustJSON(hello)})
	return a.serve(bufio.NewReaderSize(port, guestwire.MaxLine))
}

func mountAll() error {
	for _, m := range []struct{ source, target, kind string }{
		{"proc", "/proc", "proc"},
		{"sysfs", "/sys", "sysfs"},
		{"devtmpfs", "/dev", "devtmpfs"},
		{"tmpfs", "/tmp", "tmpfs"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// loadModules loads dir's files in the order of their names.
func loadModules(dir string) error {
	paths, err := filepath.Glob(dir + "/*.ko")
	if err != nil {
		return err
	}
	sort.Strings(paths)
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	return nil
}

func newHello() (guestwire.Hello, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return guestwire.Hello{}, err
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return guestwire.Hello{}, err
	}
	links, err := ethernetLinks()
	return guestwire.Hello{
		Kernel:   unix.ByteSliceToString(u.Release[:]),
		UptimeMs: up.Nano() / 1e6,
		Links:    links,
	}, err
}

// openSerial opens a serial port as a plain pipe of bytes: no echo, no line
// editing, no translation of line ends.
func openSerial(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err == nil {
		t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
		t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		err = unix.IoctlSetTermios(fd, unix.TCSETS, t)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// agent answers requests.
type agent struct {
	mu  sync.Mutex // guards out: one line at a time
	out *os.File
}

// serve handles each request in a goroutine of its own until the port fails.
func (a *agent) serve(in *bufio.Reader) error {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("read request: %w", err)
		}
		var req guestwire.Request
		if err := json.Unmarshal([]byte(strings.TrimSpace(line)), &req); err != nil || req.ID == 0 {
			continue // noise
		}
		go a.handle(req)
	}
}

func (a *agent) handle(req guestwire.Request) {
	resp := guestwire.Response{ID: req.ID}
	result, err := a.dispatch(req)
	if err != nil {
		resp.Error = fmt.Sprintf("%s: %v", req.Op, err)
	} else {
		resp.Result = mustJSON(result)
	}
	a.reply(resp)
}

func (a *agent) dispatch(req guestwire.Request) (any, error) {
	listening := func() { a.reply(guestwire.Response{ID: req.ID, Listening: true}) }
	switch req.Op {
	case guestwire.OpExec:
		return call(req, execute)
	case guestwire.OpNet:
		return call(req, configure)
	case guestwire.OpPing:
		return call(req, ping)
	case guestwire.OpTCPSend:
		return call(req, tcpSend)
	case guestwire.OpTCPRecv:
		return call(req, func(args guestwire.TCPRecvArgs) (guestwire.TCPResult, error) {
			return tcpRecv(args, listening)
		})
	case guestwire.OpUDPSend:
		return call(req, udpSend)
	case guestwire.OpUDPRecv:
		return call(req, func(args guestwire.UDPRecvArgs) (guestwire.UDPRecvResult, error) {
			return udpRecv(args, listening)
		})
	case guestwire.OpLink:
		return call(req, linkState)
	case guestwire.OpARP:
		return neighbours()
	case guestwire.OpChannels:
		return call(req, channels)
	case guestwire.OpOffloads:
		return call(req, offloads)
	case guestwire.OpCounters:
		return counters()
	case guestwire.OpPoweroff:
		return nil, a.end(req.ID, unix.LINUX_REBOOT_CMD_POWER_OFF)
	case guestwire.OpReboot:
		return nil, a.end(req.ID, unix.LINUX_REBOOT_CMD_RESTART)
	}
	return nil, fmt.Errorf("no such operation")
}

// call decodes the arguments of op and runs it.
func call[Args, Result any](req guestwire.Request, op func(Args) (Result, error)) (any, error) {
	var args Args
	if err := json.Unmarshal(req.Args, &args); err != nil {
		return nil, fmt.Errorf("arguments: %w", err)
	}
	return op(args)
}

// end answers first, since the machine is gone afterwards.
func (a *agent) end(id uint64, how int) error {
	a.reply(guestwire.Response{ID: id})
	_ = unix.IoctlSetInt(int(a.out.Fd()), unix.TCSBRK, 1) // wait until the answer is out
	unix.Sync()
	return unix.Reboot(how)
}

func (a *agent) reply(resp guestwire.Response) {
	line := append(mustJSON(resp), '\n')
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.out.Write(line); err != nil {
		log.Printf("write response: %v", err)
	}
}

// mustJSON encodes our own plain types, which cannot fail.
func mustJSON(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
