package buf

import "unsafe"

// Layout is the offset of every field of a Buf, in bytes and in order, as
// constants: nic/dpdk compares them with C's struct rte_mbuf when it is built.
const (
	OffAddr       = unsafe.Offsetof(Buf{}.Addr)
	OffIOVA       = unsafe.Offsetof(Buf{}.iova)
	OffDataOff    = unsafe.Offsetof(Buf{}.DataOff)
	OffRefCnt     = unsafe.Offsetof(Buf{}.RefCnt)
	OffNbSegs     = unsafe.Offsetof(Buf{}.NbSegs)
	OffPort       = unsafe.Offsetof(Buf{}.Port)
	OffOlFlags    = unsafe.Offsetof(Buf{}.OlFlags)
	OffPacketType = unsafe.Offsetof(Buf{}.PacketType)
	OffPktLen     = unsafe.Offsetof(Buf{}.PktLen)
	OffDataLen    = unsafe.Offsetof(Buf{}.DataLen)
	OffVlanTCI    = unsafe.Offsetof(Buf{}.VlanTCI)
	OffRSSHash    = unsafe.Offsetof(Buf{}.RSSHash)
	OffHashHi     = unsafe.Offsetof(Buf{}.hashHi)
	OffVlanOuter  = unsafe.Offsetof(Buf{}.vlanOuter)
	OffBufLen     = unsafe.Offsetof(Buf{}.BufLen)
	OffPool       = unsafe.Offsetof(Buf{}.Pool)
	OffNext       = unsafe.Offsetof(Buf{}.Next)
	OffTxOffload  = unsafe.Offsetof(Buf{}.TxOffload)
	OffShinfo     = unsafe.Offsetof(Buf{}.shinfo)
	OffPrivSize   = unsafe.Offsetof(Buf{}.privSize)
	OffTimesync   = unsafe.Offsetof(Buf{}.timesync)
	OffDynfield   = unsafe.Offsetof(Buf{}.dynfield)
)
