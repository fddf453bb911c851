package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"baton/vhost/proto"
)

// DefaultFeatures is what a guest asks for unless told otherwise.
const DefaultFeatures = proto.FeatureVersion1 | proto.FeatureProtocol | proto.FeatureMrgRxbuf | proto.FeatureMQ |
	proto.FeatureIndirectDesc | proto.FeatureEventIdx

// DefaultProtocolFeatures is what a guest's front end asks for unless told otherwise.
const DefaultProtocolFeatures = proto.ProtocolMQ | proto.ProtocolReplyAck | proto.ProtocolStatus

// Config describes a guest. The zero value of each field but Path means its default.
type Config struct {
	Name   string        // for errors and the memory file's name
	Path   string        // socket path; not needed if Conn is set
	Listen bool          // listen on Path, as QEMU does for a client-mode back end; else connect to it
	Conn   *net.UnixConn // a connected socket instead of Path; the guest owns it

	QueuePairs int    // default 1
	RingSize   int    // entries of each ring, to 32768; of split rings a power of two from 2 on; default 256
	Features   uint64 // wanted virtio features; VERSION_1 and PROTOCOL are always wanted; default DefaultFeatures
	Protocol   uint64 // wanted protocol features; default DefaultProtocolFeatures
	BufSize    int    // bytes of a receive buffer, header included; default 2048
	TxBufSize  int    // bytes of a send buffer, header included; default BufSize
	TxChain    int    // descriptors a sent frame takes: 1, or the header and TxChain-1 parts; default 1
	TxPiece    int    // bytes of a part: a frame takes as many as it needs, up to TxChain; default: even parts, always TxChain
	RxChain    int    // descriptors a receive buffer takes; default 1
	MemRegions int    // 1, or 2 for rings and buffers apart; default 1
	Spare      int    // bytes of memory, behind the buffers, that the guest itself does not use, see Spare
	Size       int    // bytes of memory in all, as much as rings, buffers and Spare take or more, all there from the start; default: what they take
	HugePages  bool   // memory in huge pages of 2 MiB
	Blocking   bool   // queues can Wait
	MTU        int    // told by NET_SET_MTU if not 0

	Timeout time.Duration // bounds each answer; default 10 s
}

// Guest is a connected guest: its queues can be driven.
//
//	conc: its control methods from one goroutine, while no queue is driven; each
//	      queue from one goroutine
type Guest struct {
	Frontend
	Rx []*RxQueue
	Tx []*TxQueue

	cfg      Config
	mem      *memory
	split    int // where the buffers begin: the second region
	spare    int // where Config.Spare bytes are free
	plugged  []*Memory
	log      *DirtyLog
	listener *net.UnixListener
	features uint64 // negotiated
	protocol uint64 // negotiated
}

// guestBase is where guest memory begins, and regionGap what lies between two
// regions: addresses that mean nothing elsewhere, so that mixing up address
// spaces does not go unnoticed.
const (
	guestBase = 0x1000_0000
	regionGap = 0x4000_0000
)

// New makes a guest and brings its device up: it waits for the connection,
// negotiates, shares its memory, starts all rings and fills the receive rings.
//
//	error: a field out of range, no connection before ctx ends, a back end that
//	       refuses or lacks what is needed; nothing is left open then
func New(ctx context.Context, cfg Config) (*Guest, error) {
	g, err := open(cfg)
	if err == nil {
		err = g.connect(ctx)
	}
	if err == nil {
		err = g.negotiate()
	}
	if err == nil {
		err = g.build()
	}
	if err == nil {
		err = g.start()
	}
	if err != nil {
		if g != nil {
			g.release()
		} else if cfg.Conn != nil {
			cfg.Conn.Close()
		}
		return nil, fmt.Errorf("guest %s: %w", cfg.Name, err)
	}
	return g, nil
}

func (cfg *Config) setDefaults() error {
	setInt := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	setInt(&cfg.QueuePairs, 1)
	setInt(&cfg.RingSize, 256)
	setInt(&cfg.BufSize, 2048)
	setInt(&cfg.TxBufSize, cfg.BufSize)
	setInt(&cfg.TxChain, 1)
	setInt(&cfg.RxChain, 1)
	setInt(&cfg.MemRegions, 1)
	if cfg.Features == 0 {
		cfg.Features = DefaultFeatures
	}
	cfg.Features |= proto.FeatureVersion1 | proto.FeatureProtocol
	if cfg.Protocol == 0 {
		cfg.Protocol = DefaultProtocolFeatures
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	return cfg.check()
}

// check tells what cannot work, whatever the back end offers.
func (cfg *Config) check() error {
	n := cfg.RingSize
	switch {
	case n < 1 || n > 32768:
		return fmt.Errorf("ring size %d is not from 1 to 32768", n)
	case cfg.Features&proto.FeatureRingPacked == 0 && (n < 2 || n&(n-1) != 0):
		return errRingSize(n)
	case cfg.QueuePairs < 1 || cfg.QueuePairs > 128:
		return fmt.Errorf("%d queue pairs, not 1 to 128", cfg.QueuePairs)
	case cfg.TxChain < 1 || cfg.TxChain > n || cfg.RxChain < 1 || cfg.RxChain > n:
		return fmt.Errorf("chains of %d and %d descriptors do not fit a ring of %d", cfg.TxChain, cfg.RxChain, n)
	case cfg.BufSize < HdrLen+cfg.RxChain || cfg.TxBufSize < HdrLen+cfg.TxChain:
		return fmt.Errorf("buffers of %d and %d bytes are too small", cfg.BufSize, cfg.TxBufSize)
	case cfg.TxPiece < 0 || cfg.TxPiece > 0 && cfg.TxChain > 1 && HdrLen+cfg.TxPiece*(cfg.TxChain-1) < cfg.TxBufSize:
		return fmt.Errorf("%d parts of %d bytes are no buffer of %d", cfg.TxChain-1, cfg.TxPiece, cfg.TxBufSize)
	case cfg.MemRegions < 1 || cfg.MemRegions > 2:
		return fmt.Errorf("%d memory regions, not 1 or 2", cfg.MemRegions)
	}
	return nil
}

func errRingSize(n int) error {
	return fmt.Errorf("ring size %d is no power of two from 2 to 32768, which split rings need", n)
}

// open checks the configuration and listens if the guest is to.
func open(cfg Config) (*Guest, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	g := &Guest{cfg: cfg}
	if cfg.Conn == nil && cfg.Listen {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: cfg.Path, Net: "unix"})
		if err != nil {
			return nil, err
		}
		g.listener = l
	}
	return g, nil
}

// connect gets the guest a connected socket.
func (g *Guest) connect(ctx context.Context) error {
	sock := g.cfg.Conn
	g.cfg.Conn = nil
	var err error
	switch {
	case sock != nil:
	case g.listener != nil:
		stop := context.AfterFunc(ctx, func() { g.listener.SetDeadline(time.Unix(1, 0)) })
		sock, err = g.listener.AcceptUnix()
		stop()
		g.listener.SetDeadline(time.Time{})
	default:
		sock, err = dial(ctx, g.cfg.Path)
	}
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	conn, err := proto.NewConn(sock)
	if err != nil {
		sock.Close()
		return err
	}
	g.Frontend = Frontend{Conn: conn, Timeout: g.cfg.Timeout}
	return nil
}

// dial connects, and tries again until ctx ends while nobody listens.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

// negotiate agrees on features, in the order that QEMU has.
func (g *Guest) negotiate() error {
	offered, err := g.GetU64(proto.GetFeatures)
	if err != nil {
		return err
	}
	features := g.cfg.Features & offered
	if features&proto.FeatureVersion1 == 0 {
		return errors.New("the back end does not offer VERSION_1")
	}
	if n := g.cfg.RingSize; features&proto.FeatureRingPacked == 0 && (n < 2 || n&(n-1) != 0) {
		return errRingSize(n)
	}
	if g.features != 0 && features != g.features {
		return fmt.Errorf("the back end came back with features %#x, not %#x", features, g.features)
	}
	g.features = features
	if features&proto.FeatureProtocol != 0 {
		if err := g.negotiateProtocol(); err != nil {
			return err
		}
	}
	if err := g.Set(proto.SetOwner, nil); err != nil {
		return err
	}
	if g.cfg.MTU != 0 && g.protocol&proto.ProtocolNetMTU != 0 {
		return g.SetU64(proto.NetSetMTU, uint64(g.cfg.MTU))
	}
	return nil
}

func (g *Guest) negotiateProtocol() error {
	offered, err := g.GetU64(proto.GetProtocolFeatures)
	if err != nil {
		return err
	}
	g.protocol = g.cfg.Protocol & offered
	if err := g.SetU64(proto.SetProtocolFeatures, g.protocol); err != nil {
		return err
	}
	g.ReplyAck = g.protocol&proto.ProtocolReplyAck != 0
	pairs := uint64(1)
	if g.protocol&proto.ProtocolMQ != 0 {
		if pairs, err = g.GetU64(proto.GetQueueNum); err != nil {
			return err
		}
	}
	if uint64(g.cfg.QueuePairs) > pairs {
		return fmt.Errorf("the back end has %d queue pairs, not %d", pairs, g.cfg.QueuePairs)
	}
	return nil
}

// Features are the negotiated virtio features.
func (g *Guest) Features() uint64 { return g.features }

// MemFD is the memory file; Mem its mapping. They are the guest's.
func (g *Guest) MemFD() int  { return g.mem.fd }
func (g *Guest) Mem() []byte { return g.mem.data }

// Spare is the offset of Config.Spare bytes that the guest does not use.
func (g *Guest) Spare() int { return g.spare }

// Truncate cuts the memory file to size bytes, a multiple of the page: what lies
// behind is gone for the back end, and for the guest itself, which must not touch it.
func (g *Guest) Truncate(size int) error { return unix.Ftruncate(g.mem.fd, int64(size)) }

// Reconnect brings the device up on a new connection, after the old one ended.
// The rings go on at the used index, as QEMU has it; what the old back end took
// and did not complete, the new one gets again.
//
//	error: New's, and other features than before; the guest can try again
func (g *Guest) Reconnect(ctx context.Context) error {
	g.Disconnect()
	if g.log != nil { // the new back end knows of none
		g.log.mem.close()
		g.log = nil
	}
	err := g.connect(ctx)
	if err == nil {
		err = g.negotiate()
	}
	if err == nil {
		err = g.start()
	}
	if err != nil {
		return fmt.Errorf("guest %s: reconnect: %w", g.cfg.Name, err)
	}
	return nil
}

// Disconnect closes the connection without a word, as a front end that died does.
func (g *Guest) Disconnect() {
	if g.Conn != nil {
		g.Conn.Close()
	}
}

// Close stops the rings, disconnects and frees all.
//
//	error: the back end did not answer; all is freed nevertheless
func (g *Guest) Close() error {
	err := g.Stop()
	g.release()
	if err != nil {
		return fmt.Errorf("guest %s: close: %w", g.cfg.Name, err)
	}
	return nil
}

// Abandon disconnects and frees all without stopping the rings.
func (g *Guest) Abandon() { g.release() }

// release frees what the guest holds, as far as it was made.
func (g *Guest) release() {
	g.Disconnect()
	if g.listener != nil {
		g.listener.Close()
	}
	for i := range g.Rx {
		g.Rx[i].closeEvents()
		g.Tx[i].closeEvents()
	}
	if g.mem != nil {
		g.mem.close()
	}
	for _, m := range g.plugged {
		m.mem.close()
	}
	if g.log != nil {
		g.log.mem.close()
	}
}

func (q *queue) openEvents(blocking bool) error {
	var err error
	if q.kick, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("kick eventfd: %w", err)
	}
	if q.call, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("call eventfd: %w", err)
	}
	if blocking {
		q.callFile = os.NewFile(uintptr(q.call), "call")
	}
	return nil
}

func (q *queue) closeEvents() {
	if q.kick >= 0 {
		unix.Close(q.kick)
	}
	switch {
	case q.callFile != nil:
		q.callFile.Close()
	case q.call >= 0:
		unix.Close(q.call)
	}
}
