//go:build faults

package crash

// #include <pthread.h>
// #include <stddef.h>
//
// static void *fault(void *unused)
// {
//     *(volatile int *)64 = 1;
//     return unused;
// }
//
// static int fault_on_thread(void)
// {
//     pthread_t t;
//     return pthread_create(&t, NULL, fault, NULL);
// }
import "C"

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Fault writes where nothing is mapped, in C code that Go has called.
func Fault() { C.fault(nil) }

// FaultOnThread does the same on a thread that Go knows nothing of, as a library's own.
//
//	error: no thread to be had
func FaultOnThread() error {
	if n := C.fault_on_thread(); n != 0 {
		return fmt.Errorf("crash: thread: %w", unix.Errno(n))
	}
	return nil
}
