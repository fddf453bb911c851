package ethdev

/*
#cgo pkg-config: libdpdk
#include <rte_ethdev.h>
#include <rte_mbuf.h>
*/
import "C"

import "baton/dataplane/buf"

// Transmit offloads, bits of Info.TxOffloads.
const (
	TxIPv4Cksum      uint64 = C.RTE_ETH_TX_OFFLOAD_IPV4_CKSUM
	TxUDPCksum       uint64 = C.RTE_ETH_TX_OFFLOAD_UDP_CKSUM
	TxTCPCksum       uint64 = C.RTE_ETH_TX_OFFLOAD_TCP_CKSUM
	TxTCPTSO         uint64 = C.RTE_ETH_TX_OFFLOAD_TCP_TSO
	TxOuterIPv4Cksum uint64 = C.RTE_ETH_TX_OFFLOAD_OUTER_IPV4_CKSUM
	TxGeneveTSO      uint64 = C.RTE_ETH_TX_OFFLOAD_GENEVE_TNL_TSO
	TxMultiSegs      uint64 = C.RTE_ETH_TX_OFFLOAD_MULTI_SEGS
)

// Receive offloads, bits of Info.RxOffloads.
const (
	RxIPv4Cksum      uint64 = C.RTE_ETH_RX_OFFLOAD_IPV4_CKSUM
	RxUDPCksum       uint64 = C.RTE_ETH_RX_OFFLOAD_UDP_CKSUM
	RxTCPCksum       uint64 = C.RTE_ETH_RX_OFFLOAD_TCP_CKSUM
	RxOuterIPv4Cksum uint64 = C.RTE_ETH_RX_OFFLOAD_OUTER_IPV4_CKSUM
)

// The flags that buf names are DPDK's, or this does not compile.
const (
	_ = -(buf.RxL4Bad ^ C.RTE_MBUF_F_RX_L4_CKSUM_BAD)
	_ = -(buf.RxL4Good ^ C.RTE_MBUF_F_RX_L4_CKSUM_GOOD)
	_ = -(buf.TxTunnelGeneve ^ C.RTE_MBUF_F_TX_TUNNEL_GENEVE)
	_ = -(buf.TxTunnelMask ^ C.RTE_MBUF_F_TX_TUNNEL_MASK)
	_ = -(buf.TxTCPSeg ^ C.RTE_MBUF_F_TX_TCP_SEG)
	_ = -(buf.TxTCPCksum ^ C.RTE_MBUF_F_TX_TCP_CKSUM)
	_ = -(buf.TxUDPCksum ^ C.RTE_MBUF_F_TX_UDP_CKSUM)
	_ = -(buf.TxL4Mask ^ C.RTE_MBUF_F_TX_L4_MASK)
	_ = -(buf.TxIPCksum ^ C.RTE_MBUF_F_TX_IP_CKSUM)
	_ = -(buf.TxIPv4 ^ C.RTE_MBUF_F_TX_IPV4)
	_ = -(buf.TxIPv6 ^ C.RTE_MBUF_F_TX_IPV6)
	_ = -(buf.TxOuterIPCksum ^ C.RTE_MBUF_F_TX_OUTER_IP_CKSUM)
	_ = -(buf.TxOuterIPv4 ^ C.RTE_MBUF_F_TX_OUTER_IPV4)
)
