package handover

import (
	"errors"

	"golang.org/x/sys/unix"
)

// gone reports whether err says that the other end of the socket is closed: no thread of
// the process that had it runs its program any more.
func gone(err error) bool { return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) }
