// Package hist counts values in buckets that grow with them, as HdrHistogram does: 32
// buckets for each power of two, so that a quantile is never more than 1/32 too high.
//
//	value   0 1 2 ... 31 | 32 33 ... 63 | 64 66 ... 126 | 128 132 ... 252 | ...
//	bucket  one a value  | one a value  | one for 2     | one for 4       | ...
//
// Recording is some instructions on memory that was there before, so that a poll loop
// can afford it.
package hist
