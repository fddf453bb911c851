//go:build !race

package cache_test

// raced says that the race detector is on, with which all takes many times as long.
const raced = false
