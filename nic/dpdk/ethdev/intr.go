package ethdev

/*
#cgo noescape baton_eth_intr_enable
#cgo nocallback baton_eth_intr_enable
#cgo noescape baton_eth_intr_disable
#cgo nocallback baton_eth_intr_disable
#include "ethdev.h"
*/
import "C"

import "baton/nic/dpdk/eal"

// RxIntrFD is a descriptor that becomes readable when a started queue's receive
// interrupt fires; it stays the driver's.
//
//	error: ENOTSUP if the driver has no interrupts, or the port was configured without
func (p Port) RxIntrFD(queue int) (int, error) {
	var fd C.int
	err := p.do("receive interrupt", func() C.int { fd = C.baton_eth_intr_fd(C.uint16_t(p), C.uint16_t(queue)); return fd })
	return int(fd), err
}

// RxIntrEnable arms the interrupt. From the goroutine that polls the queue.
func (p Port) RxIntrEnable(queue int) error {
	return eal.AsError(int(C.baton_eth_intr_enable(C.uint16_t(p), C.uint16_t(queue))))
}

// RxIntrDisable disarms it. From the goroutine that polls the queue.
func (p Port) RxIntrDisable(queue int) error {
	return eal.AsError(int(C.baton_eth_intr_disable(C.uint16_t(p), C.uint16_t(queue))))
}

// PacketSocket is the socket of a started queue of net_af_packet, which has no
// interrupts: the kernel wakes who waits on the socket when it puts a frame into
// the queue's ring. It stays the driver's. ifIndex is the interface that the
// socket must be bound to.
//
//	error: ENOTSUP if there is no such socket
func (p Port) PacketSocket(queue, ifIndex int) (int, error) {
	var fd C.int
	err := p.do("packet socket", func() C.int {
		fd = C.baton_eth_packet_socket(C.uint16_t(p), C.uint16_t(queue), C.int(ifIndex))
		return fd
	})
	return int(fd), err
}
