//go:build !amd64 || !go1.26 || go1.27 || !goexperiment.greenteagc || purego

package slice

import (
	"fmt"
	"runtime"
)

// Check says why nothing here does anything.
func Check() error {
	return fmt.Errorf("this build's scheduler (%s, %s) is not known: want Go 1.26 for amd64 with its default GOEXPERIMENT, without the tag purego", runtime.Version(), runtime.GOARCH)
}

// Renew does nothing: the loop is preempted after 10 ms.
func Renew() {}

// Waiting says that nothing waits.
func Waiting() bool { return false }

// Yield does nothing.
func Yield() {}
