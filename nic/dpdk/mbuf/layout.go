package mbuf

/*
#cgo pkg-config: libdpdk
#include <stddef.h>
#include <rte_mbuf_core.h>

enum {
	OFF_Addr = offsetof(struct rte_mbuf, buf_addr),
	OFF_IOVA = offsetof(struct rte_mbuf, buf_iova),
	OFF_DataOff = offsetof(struct rte_mbuf, data_off),
	OFF_RefCnt = offsetof(struct rte_mbuf, refcnt),
	OFF_NbSegs = offsetof(struct rte_mbuf, nb_segs),
	OFF_Port = offsetof(struct rte_mbuf, port),
	OFF_OlFlags = offsetof(struct rte_mbuf, ol_flags),
	OFF_PacketType = offsetof(struct rte_mbuf, packet_type),
	OFF_PktLen = offsetof(struct rte_mbuf, pkt_len),
	OFF_DataLen = offsetof(struct rte_mbuf, data_len),
	OFF_VlanTCI = offsetof(struct rte_mbuf, vlan_tci),
	OFF_RSSHash = offsetof(struct rte_mbuf, hash.rss),
	OFF_HashHi = offsetof(struct rte_mbuf, hash.fdir.hi),
	OFF_VlanOuter = offsetof(struct rte_mbuf, vlan_tci_outer),
	OFF_BufLen = offsetof(struct rte_mbuf, buf_len),
	OFF_Pool = offsetof(struct rte_mbuf, pool),
	OFF_Next = offsetof(struct rte_mbuf, next),
	OFF_TxOffload = offsetof(struct rte_mbuf, tx_offload),
	OFF_Shinfo = offsetof(struct rte_mbuf, shinfo),
	OFF_PrivSize = offsetof(struct rte_mbuf, priv_size),
	OFF_Timesync = offsetof(struct rte_mbuf, timesync),
	OFF_Dynfield = offsetof(struct rte_mbuf, dynfield1),
	SIZE_MBUF = sizeof(struct rte_mbuf),
	END_DYNFIELD = offsetof(struct rte_mbuf, dynfield1) + sizeof(((struct rte_mbuf *)0)->dynfield1),
	HEADROOM = RTE_PKTMBUF_HEADROOM,
	DEFAULT_SIZE = RTE_MBUF_DEFAULT_BUF_SIZE,
};
*/
import "C"

import (
	"unsafe"

	"baton/dataplane/buf"
)

// Each constant is a negative unsigned number, which does not compile, unless
// the two layouts agree in this place. All fields lie one behind the other, so
// that equal offsets mean equal sizes too.
const (
	_ = -(uint(buf.OffAddr) ^ C.OFF_Addr)
	_ = -(uint(buf.OffIOVA) ^ C.OFF_IOVA)
	_ = -(uint(buf.OffDataOff) ^ C.OFF_DataOff)
	_ = -(uint(buf.OffRefCnt) ^ C.OFF_RefCnt)
	_ = -(uint(buf.OffNbSegs) ^ C.OFF_NbSegs)
	_ = -(uint(buf.OffPort) ^ C.OFF_Port)
	_ = -(uint(buf.OffOlFlags) ^ C.OFF_OlFlags)
	_ = -(uint(buf.OffPacketType) ^ C.OFF_PacketType)
	_ = -(uint(buf.OffPktLen) ^ C.OFF_PktLen)
	_ = -(uint(buf.OffDataLen) ^ C.OFF_DataLen)
	_ = -(uint(buf.OffVlanTCI) ^ C.OFF_VlanTCI)
	_ = -(uint(buf.OffRSSHash) ^ C.OFF_RSSHash)
	_ = -(uint(buf.OffHashHi) ^ C.OFF_HashHi)
	_ = -(uint(buf.OffVlanOuter) ^ C.OFF_VlanOuter)
	_ = -(uint(buf.OffBufLen) ^ C.OFF_BufLen)
	_ = -(uint(buf.OffPool) ^ C.OFF_Pool)
	_ = -(uint(buf.OffNext) ^ C.OFF_Next)
	_ = -(uint(buf.OffTxOffload) ^ C.OFF_TxOffload)
	_ = -(uint(buf.OffShinfo) ^ C.OFF_Shinfo)
	_ = -(uint(buf.OffPrivSize) ^ C.OFF_PrivSize)
	_ = -(uint(buf.OffTimesync) ^ C.OFF_Timesync)
	_ = -(uint(buf.OffDynfield) ^ C.OFF_Dynfield)
	_ = -(uint(unsafe.Sizeof(buf.Buf{})) ^ C.SIZE_MBUF)
	_ = -(uint(unsafe.Sizeof(buf.Buf{})) ^ C.END_DYNFIELD)
	_ = -(uint(buf.HeaderSize) ^ C.SIZE_MBUF)
	_ = -(uint(buf.Headroom) ^ C.HEADROOM)
	_ = -(uint(buf.DefaultDataRoom) ^ C.DEFAULT_SIZE)
)
