//go:build !amd64 || !go1.26 || go1.27 || !goexperiment.greenteagc || purego

package slice

// Works says that nothing here does anything.
func Works() bool { return false }

// Renew does nothing: the loop is preempted after 10 ms.
func Renew() {}

// Waiting says that nothing waits.
func Waiting() bool { return false }

// Yield does nothing.
func Yield() {}
