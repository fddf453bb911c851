package port

// Offloads is what a receiver can take unfinished. A frame that asks for more
// (buf.TxWork) is finished in software before it is sent.
type Offloads uint32

// The offloads.
const (
	OffloadCsum       Offloads = 1 << iota // TCP and UDP checksums, not in a tunnel
	OffloadTSO4                            // super-segments of TCP over IPv4; implies OffloadCsum
	OffloadTSO6                            // the same over IPv6
	OffloadECN                             // super-segments whose TCP header has CWR set
	OffloadTunnelCsum                      // checksums inside Geneve
	OffloadTunnelTSO                       // super-segments inside Geneve, IPv4 and IPv6 inside
)

// Offloader is a Queue that takes frames unfinished. Others take none.
type Offloader interface {
	// Offloads is what the receiver takes now. It changes with a guest's driver, never
	// between this call and a Tx of the same worker iteration.
	//
	//	conc: safe from any goroutine    alloc: 0
	Offloads() Offloads
}
