package proto

// spec is one row of the message table: what a request looks like and what
// becomes of one that is refused.
type spec struct {
	request Request
	sizes   [2]int // least and most payload bytes
	fds     [2]int // least and most descriptors
	// needs is the protocol feature that brings the request; a device that does
	// not offer it does not know the request. 0: every device knows it.
	needs uint64
	// native says that the request has a reply of its own, whatever NEED_REPLY says.
	native bool
	// fatal says that a front end which does not learn of the refusal would go on
	// with a device it misunderstands: the session ends. Otherwise the refusal is
	// logged and the session goes on. A refused native request is always fatal: the
	// front end waits for an answer that does not exist.
	fatal  bool
	handle func(s *Session, m *Message) (reply []byte, err error)
}

var (
	size0      = [2]int{0, 0}
	size8      = [2]int{sizeU64, sizeU64}
	size16     = [2]int{sizeLog, sizeLog}
	size40     = [2]int{sizeVringAddr, sizeVringAddr}
	sizeTable  = [2]int{sizeTableHead + sizeRegion, sizeTableHead + MaxRegions*sizeRegion}
	noFD       = [2]int{0, 0}
	oneFD      = [2]int{1, 1}
	maybeFD    = [2]int{0, 1}
	regionsFDs = [2]int{1, MaxRegions}
)

// messages has all requests that a session understands.
var messages = []spec{
	{request: GetFeatures, sizes: size0, fds: noFD, native: true, handle: getFeatures},
	{request: SetFeatures, sizes: size8, fds: noFD, fatal: true, handle: setFeatures},
	{request: GetProtocolFeatures, sizes: size0, fds: noFD, native: true, handle: getProtocolFeatures},
	{request: SetProtocolFeatures, sizes: size8, fds: noFD, fatal: true, handle: setProtocolFeatures},
	{request: SetOwner, sizes: size0, fds: noFD, handle: setOwner},
	{request: ResetOwner, sizes: size0, fds: noFD, handle: resetOwner},
	{request: ResetDevice, sizes: size0, fds: noFD, needs: ProtocolResetDevice, fatal: true, handle: resetDevice},
	{request: GetQueueNum, sizes: size0, fds: noFD, needs: ProtocolMQ, native: true, handle: getQueueNum},

	{request: SetMemTable, sizes: sizeTable, fds: regionsFDs, fatal: true, handle: setMemTable},
	{request: GetMaxMemSlots, sizes: size0, fds: noFD, needs: ProtocolConfigureMemSlots, native: true, handle: getMaxMemSlots},
	{request: AddMemReg, sizes: size40, fds: oneFD, needs: ProtocolConfigureMemSlots, fatal: true, handle: addMemReg},
	{request: RemMemReg, sizes: size40, fds: maybeFD, needs: ProtocolConfigureMemSlots, fatal: true, handle: remMemReg},

	{request: SetVringNum, sizes: size8, fds: noFD, fatal: true, handle: setVringNum},
	{request: SetVringAddr, sizes: size40, fds: noFD, fatal: true, handle: setVringAddr},
	{request: SetVringBase, sizes: size8, fds: noFD, fatal: true, handle: setVringBase},
	{request: GetVringBase, sizes: size8, fds: noFD, native: true, handle: getVringBase},
	{request: SetVringKick, sizes: size8, fds: maybeFD, fatal: true, handle: setVringKick},
	{request: SetVringCall, sizes: size8, fds: maybeFD, fatal: true, handle: setVringCall},
	{request: SetVringErr, sizes: size8, fds: maybeFD, handle: setVringErr},
	{request: SetVringEnable, sizes: size8, fds: noFD, fatal: true, handle: setVringEnable},

	{request: NetSetMTU, sizes: size8, fds: noFD, needs: ProtocolNetMTU, handle: netSetMTU},
	{request: SendRARP, sizes: size8, fds: noFD, needs: ProtocolRARP, handle: sendRARP},
	{request: SetBackendReqFD, sizes: size0, fds: oneFD, needs: ProtocolBackendReq, handle: setBackendReqFD},
	{request: SetStatus, sizes: size8, fds: noFD, needs: ProtocolStatus, handle: setStatus},
	{request: GetStatus, sizes: size0, fds: noFD, needs: ProtocolStatus, native: true, handle: getStatus},

	{request: SetLogBase, sizes: size16, fds: oneFD, needs: ProtocolLogShmfd, native: true, handle: setLogBase},
	{request: SetLogFD, sizes: size0, fds: oneFD, needs: ProtocolLogShmfd, handle: setLogFD},
}

// table finds a row by request.
var table [numRequests]*spec

// The table is filled here and not by an initialiser: handlers reach the table
// through the session, and Go refuses such a circle.
func init() {
	for i := range messages {
		table[messages[i].request] = &messages[i]
	}
}

// lookup is the row of a request, nil if a device with these protocol features
// does not know it.
func lookup(r Request, offered uint64) *spec {
	if r >= numRequests || table[r] == nil || table[r].needs&^offered != 0 {
		return nil
	}
	return table[r]
}
