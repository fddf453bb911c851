// Package pipeline has the ordered tables that a packet walks on a cache miss,
// and the slow path that walks them.
package pipeline
