package proto

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// socketPeer names the front end that listens on path by its socket's file: a front end
// that starts makes the file anew. Empty if there is none.
func socketPeer(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return ""
	}
	return fmt.Sprintf("socket %d:%d:%d.%09d", st.Dev, st.Ino, st.Mtim.Sec, st.Mtim.Nsec)
}

// processPeer names the front end that connected to us by its process and the time, in
// clock ticks since boot, when that began. Empty where the kernel does not say, as of a
// process of another PID namespace.
func processPeer(conn *Conn) string {
	var cred *unix.Ucred
	var err error
	if ctlErr := conn.raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); ctlErr != nil || err != nil || cred.Pid <= 0 {
		return ""
	}
	began, ok := startTime(int(cred.Pid))
	if !ok {
		return ""
	}
	return fmt.Sprintf("process %d:%d", cred.Pid, began)
}

// startTime is field 22 of /proc/PID/stat (proc(5)).
func startTime(pid int) (uint64, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The second field is the program's name in brackets, and may hold anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const at = 22 - 3 // counted from the third
	if len(fields) <= at {
		return 0, false
	}
	n, err := strconv.ParseUint(string(fields[at]), 10, 64)
	return n, err == nil
}
