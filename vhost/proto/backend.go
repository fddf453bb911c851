package proto

// MemRegion is one region of guest memory, as SET_MEM_TABLE and ADD_MEM_REG
// describe it. All numbers are the peer's and unchecked.
type MemRegion struct {
	GuestAddr  uint64 // guest physical address
	Size       uint64 // bytes
	UserAddr   uint64 // address in the front end, the address space of ring addresses
	MmapOffset uint64 // where the region starts in the file
	FD         int    // file to map; -1 where the message carries none
}

// VringAddr is SET_VRING_ADDR: front-end addresses of a ring's three parts.
type VringAddr struct {
	Index uint32 // ring, already checked against NumRings
	Flags uint32 // bit 0: log the used ring's writes
	Desc  uint64
	Used  uint64
	Avail uint64
	Log   uint64 // guest physical address of the used ring, for logging
}

// Backend is the device behind a session. The session has checked each
// message's syntax (size, version, number of descriptors, ring index below
// NumRings) and calls one method at a time; the device checks the meaning.
//
// A method that returns an error has changed nothing. A method that is given
// file descriptors owns them from the call on, also when it returns an error, unless it
// says otherwise. An fd argument of -1 means the message carried none (NOFD mask: poll).
//
//	conc: one goroutine, the session's
type Backend interface {
	// Connected tells whose session begins. The same front end has the same peer when it
	// comes back; one of another process has another. Empty: that is not known.
	Connected(peer string)

	// NumRings is the number of rings (two a queue pair): indices are below it.
	NumRings() int
	// NumQueuePairs answers GET_QUEUE_NUM.
	NumQueuePairs() int

	Features() uint64         // virtio and vhost features offered
	ProtocolFeatures() uint64 // protocol features offered
	SetFeatures(features uint64) error
	SetProtocolFeatures(features uint64) error
	SetOwner() error
	// Reset brings the device back to the state before SET_FEATURES: RESET_DEVICE.
	Reset() error

	// SetMemTable replaces all regions.
	SetMemTable(regions []MemRegion) error
	MaxMemSlots() int
	// AddMemRegion adds one; adding an identical one again succeeds.
	AddMemRegion(r MemRegion) error
	// RemMemRegion removes the one with equal addresses and size.
	RemMemRegion(r MemRegion) error

	SetVringNum(ring int, num uint32) error
	SetVringAddr(a VringAddr) error
	// SetVringBase gets the state word: split rings the next available index,
	// packed rings both indices and wrap counters.
	SetVringBase(ring int, base uint32) error
	// GetVringBase stops the ring, waits until no worker uses it, and returns its state word.
	GetVringBase(ring int) (uint32, error)
	SetVringKick(ring int, fd int) error
	SetVringCall(ring int, fd int) error
	SetVringErr(ring int, fd int) error
	SetVringEnable(ring int, enable bool) error

	SetMTU(mtu uint16) error
	SendRARP(mac [6]byte) error
	// SetBackendReqFD owns fd only if it returns no error: the closing of a socket may
	// take time, and the session knows what to do then.
	SetBackendReqFD(fd int) error
	Status() uint8
	// SetStatus keeps the driver's status; 0 is a Reset.
	SetStatus(status uint8) error

	// SetLogBase maps the dirty log; fd is the file, size and offset in bytes.
	SetLogBase(size, offset uint64, fd int) error
	SetLogFD(fd int) error

	// Disconnected tells the device that the session ended: it stops all rings,
	// waits until no worker uses them and unmaps the guest's memory.
	Disconnected()
}
