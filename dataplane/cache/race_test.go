//go:build race

package cache_test

const raced = true
