package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"baton/test/lab/guestwire"
)

// agentConn is the lab's end of a guest's second serial port.
type agentConn struct {
	done chan struct{} // closed when the reader has ended

	mu    sync.Mutex // guards what follows, and writes to conn
	conn  net.Conn   // that requests go to; the last one that answers come from
	next  net.Conn   // to read when the one that is read ends, nil: none
	last  uint64
	calls map[uint64]*agentCall
	dead  error
}

type agentCall struct {
	listening chan struct{}
	answer    chan guestwire.Response // buffered: the reader never waits
}

// newAgentConn takes conn over. hello is called by the reader, once a boot.
func newAgentConn(conn net.Conn, hello func(guestwire.Hello)) *agentConn {
	a := &agentConn{conn: conn, done: make(chan struct{}), calls: make(map[uint64]*agentCall)}
	go a.runRead(hello)
	return a
}

func (a *agentConn) runRead(hello func(guestwire.Hello)) {
	defer close(a.done)
	lines := bufio.NewScanner(&agentReader{a, a.conn})
	lines.Buffer(make([]byte, 0, 64<<10), guestwire.MaxLine)
	for lines.Scan() {
		var r guestwire.Response
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			continue // noise of the firmware
		}
		if r.ID == 0 {
			var h guestwire.Hello
			if json.Unmarshal(r.Result, &h) == nil && h.Kernel != "" {
				hello(h)
			}
			continue
		}
		a.mu.Lock()
		call := a.calls[r.ID]
		if call != nil && !r.Listening {
			delete(a.calls, r.ID)
		}
		a.mu.Unlock()
		switch {
		case call == nil: // its caller gave up
		case r.Listening:
			close(call.listening)
		default:
			call.answer <- r
		}
	}
	err := lines.Err()
	if err == nil {
		err = errors.New("the guest is gone")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dead = err
	for id, call := range a.calls {
		delete(a.calls, id)
		call.answer <- guestwire.Response{Error: err.Error()}
	}
}

// agentReader reads one connection after the other.
type agentReader struct {
	a   *agentConn
	now net.Conn
}

func (r *agentReader) Read(p []byte) (int, error) {
	for {
		n, err := r.now.Read(p)
		if n > 0 || err == nil {
			return n, nil
		}
		r.a.mu.Lock()
		next := r.a.next
		r.a.next = nil
		r.a.mu.Unlock()
		if next == nil {
			return 0, err
		}
		_ = r.now.Close()
		r.now = next
	}
}

// follow makes next the connection to the agent: for requests from now on, for
// answers when the present one has ended, in the middle of a line if need be.
func (a *agentConn) follow(next net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn, a.next = next, next
}

func (a *agentConn) close() error {
	a.mu.Lock()
	_ = a.conn.Close()
	a.mu.Unlock()
	<-a.done
	return nil
}

// begin sends a request.
func (a *agentConn) begin(op string, args any) (uint64, *agentCall, error) {
	data, err := json.Marshal(args)
	if err != nil {
		return 0, nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dead != nil {
		return 0, nil, a.dead
	}
	a.last++
	line, err := json.Marshal(guestwire.Request{ID: a.last, Op: op, Args: data})
	if err != nil {
		return 0, nil, err
	}
	call := &agentCall{listening: make(chan struct{}), answer: make(chan guestwire.Response, 1)}
	a.calls[a.last] = call
	if _, err := a.conn.Write(append(line, '\n')); err != nil {
		delete(a.calls, a.last)
		return 0, nil, err
	}
	return a.last, call, nil
}

// end waits for a request's answer.
func (a *agentConn) end(id uint64, call *agentCall, timeout time.Duration, result any) error {
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case r := <-call.answer:
		if r.Error != "" {
			return errors.New(r.Error)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(r.Result, result)
	case <-late.C:
		a.mu.Lock()
		delete(a.calls, id)
		a.mu.Unlock()
		return fmt.Errorf("no answer within %v", timeout)
	}
}

// answerSlack is added to an operation's own time limit: the serial port is
// slow and two cores may be busy with other guests.
const answerSlack = time.Minute

// Call asks the guest's agent for op and waits for the answer; result may be nil.
// Calls may run at the same time.
//
//	error: names guest and operation; the agent's own errors come as text
func (g *Guest) Call(op string, args any, timeout time.Duration, result any) error {
	id, call, err := g.agent.begin(op, args)
	if err == nil {
		err = g.agent.end(id, call, timeout+answerSlack, result)
	}
	if err != nil {
		return fmt.Errorf("lab: guest %s: %s: %w", g.cfg.Name, op, err)
	}
	return nil
}

// Exec runs a program in the guest; a non-zero exit code is no error.
func (g *Guest) Exec(timeout time.Duration, argv ...string) (guestwire.ExecResult, error) {
	var r guestwire.ExecResult
	err := g.Call(guestwire.OpExec, guestwire.ExecArgs{Argv: argv, TimeoutMs: timeout.Milliseconds()}, timeout, &r)
	return r, err
}

// Touch makes an empty file in the guest.
func (g *Guest) Touch(path string) error {
	r, err := g.Exec(answerSlack, "touch", path)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("lab: guest %s: touch %s: %s", g.cfg.Name, path, r.Stderr)
	}
	return err
}

// Configure sets up an interface of the guest.
func (g *Guest) Configure(args guestwire.NetArgs) error {
	return g.Call(guestwire.OpNet, args, 0, nil)
}

// Ping sends echo requests. Zero Size and WaitMs become 56 bytes and 1000 ms.
func (g *Guest) Ping(args guestwire.PingArgs) (guestwire.PingResult, error) {
	if args.Size == 0 {
		args.Size = 56
	}
	if args.WaitMs == 0 {
		args.WaitMs = 1000
	}
	duration := time.Duration(args.Count)*time.Duration(args.IntervalUs)*time.Microsecond +
		time.Duration(args.WaitMs)*time.Millisecond
	var r guestwire.PingResult
	err := g.Call(guestwire.OpPing, args, duration, &r)
	return r, err
}

// Link is the state of the guest's interface.
func (g *Guest) Link(name string) (guestwire.LinkResult, error) {
	var r guestwire.LinkResult
	err := g.Call(guestwire.OpLink, guestwire.LinkArgs{Link: name}, 0, &r)
	return r, err
}

// Channels is how many queue pairs the guest's interface uses.
func (g *Guest) Channels(link string) (guestwire.ChannelsResult, error) {
	return g.SetChannels(link, 0)
}

// SetChannels makes the guest's interface use so many queue pairs.
func (g *Guest) SetChannels(link string, combined int) (guestwire.ChannelsResult, error) {
	var r guestwire.ChannelsResult
	err := g.Call(guestwire.OpChannels, guestwire.ChannelsArgs{Link: link, Combined: combined}, 0, &r)
	return r, err
}

// Offloads says which offloads of the guest's interface are on.
func (g *Guest) Offloads(link string) (guestwire.OffloadsResult, error) {
	return g.SetOffloads(link, nil)
}

// SetOffloads turns offloads of the guest's interface on and off, as ethtool -K
// does. What depends on one that goes off goes off too.
func (g *Guest) SetOffloads(link string, set map[string]bool) (guestwire.OffloadsResult, error) {
	var r guestwire.OffloadsResult
	err := g.Call(guestwire.OpOffloads, guestwire.OffloadsArgs{Link: link, Set: set}, 0, &r)
	return r, err
}

// Counters is what the guest's kernel has counted: TcpInCsumErrors and so on.
func (g *Guest) Counters() (guestwire.CountersResult, error) {
	var r guestwire.CountersResult
	err := g.Call(guestwire.OpCounters, nil, 0, &r)
	return r, err
}

// ARP is the guest's neighbour table.
func (g *Guest) ARP() ([]guestwire.ARPEntry, error) {
	var r []guestwire.ARPEntry
	err := g.Call(guestwire.OpARP, nil, 0, &r)
	return r, err
}

// Poweroff ends the guest from inside and waits for QEMU's end.
func (g *Guest) Poweroff(timeout time.Duration) error {
	g.stopped.Store(true)
	if err := g.Call(guestwire.OpPoweroff, nil, timeout, nil); err != nil {
		return err
	}
	_, err := g.WaitExit(timeout)
	return err
}

// Reboot restarts the guest from inside and waits until it is ready again; it
// needs GuestConfig.Reboots. No other call may be under way.
func (g *Guest) Reboot(timeout time.Duration) error {
	if !g.cfg.Reboots {
		return fmt.Errorf("lab: guest %s: reboot: QEMU was started to end at one: set GuestConfig.Reboots", g.cfg.Name)
	}
	g.mu.Lock()
	g.ready = make(chan struct{})
	g.mu.Unlock()
	if err := g.Call(guestwire.OpReboot, nil, timeout, nil); err != nil {
		return err
	}
	return g.WaitReady(timeout)
}
