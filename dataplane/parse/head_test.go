package parse_test

import (
	"testing"

	"pgregory.net/rapid"

	"baton/dataplane/flow"
	"baton/dataplane/offload/offloadtest"
	"baton/dataplane/parse"
	"baton/dataplane/stats"
)

// TestHead: the first segment of a chain gives the key and layout of the whole
// frame, if it has the headers; if not, none.
func TestHead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := offloadtest.TCP(t, 3000)
		end := offloadtest.Locate(f).Payload
		n := rapid.IntRange(0, len(f)).Draw(t, "head")
		var whole, head flow.Key
		if r := parse.Frame(f, &whole); r != stats.DropNone {
			t.Fatal(r)
		}
		all, _ := parse.Locate(f)
		r := parse.Head(f[:n:n], len(f), &head)
		l, r2 := parse.LocateHead(f[:n:n], len(f))
		if r != r2 || n >= end && r != stats.DropNone || n < end-40 && r == stats.DropNone {
			t.Fatalf("%d of %d bytes, headers of %d: %v, %v", n, len(f), end, r, r2)
		}
		if n < end {
			return
		}
		if head != whole {
			t.Fatalf("%s, want %s", head, whole)
		}
		if all.End = min(all.End, n); l != all {
			t.Fatalf("%+v, want %+v", l, all)
		}
	})
}
