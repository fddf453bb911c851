package machine

// KernelThreads is for tests that look where they may run.
var KernelThreads = kernelThreads
