// Command guestinit is the first process of the lab's guests: it mounts the
// kernel's file systems, loads the modules of the initramfs in order, and
// answers requests (package guestwire) on the second serial port until it is
// told to power off. It is built without cgo, so that it needs no library.
//
//	console  ttyS0   the kernel's and our log
//	requests ttyS1   JSON lines; one goroutine a request
//
// Traffic is made here, in one process, because BusyBox's ping drops a burst of
// replies that is larger than its small receive buffer.
package main
