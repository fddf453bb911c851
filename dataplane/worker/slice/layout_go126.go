//go:build amd64 && go1.26 && !go1.27 && goexperiment.greenteagc && !purego

package slice

// Where Go 1.26 keeps what is used here, in bytes from the beginning of each of its
// structures (runtime/runtime2.go, time.go), as built with its garbage collector of that
// release (GOEXPERIMENT greenteagc, which is the default): without it they are other.
const (
	gM    = 48  // g.m: the thread that a goroutine is on
	mCurg = 184 // m.curg: the goroutine that is on a thread
	mP    = 208 // m.p: the thread's processor

	pID          = 0
	pSchedtick   = 16
	pSyscalltick = 20
	pM           = 48 // p.m: the processor's thread
	pRunqhead    = 400
	pRunqtail    = 404
	pRunnext     = 2456
	pTimers      = 13672

	timersMinWhenHeap     = 48
	timersMinWhenModified = 56
)
