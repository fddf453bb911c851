package handover

import (
	"strings"
	"testing"
	"time"

	"baton/hostapi"
)

// Ports move after the last look that saw none moved, and before the first one that saw all moved,
// though no look comes just then.
func TestMoving(t *testing.T) {
	for _, c := range []struct {
		looks string // phases of two ports at each
		want  moving
	}{
		{"", moving{}}, {"ww pw pp mp mm mm", moving{from: 20, to: 41}}, {"ww mm", moving{to: 11}}, {"pp mp", moving{}},
		{"ww pp mp bb", moving{from: 10}}, {"ww pp mm bb", moving{from: 10, to: 21}},
	} {
		names := map[rune]string{'w': hostapi.UpgradePortWaiting, 'p': hostapi.UpgradePortPrepared, 'm': hostapi.UpgradePortMoved, 'b': hostapi.UpgradePortBack}
		var m moving
		for i, phases := range strings.Fields(c.looks) {
			var v hostapi.Upgrade
			for _, p := range phases {
				v.Ports = append(v.Ports, hostapi.UpgradePort{Phase: names[p]})
			}
			m.look(&v, time.Duration(10*i), time.Duration(10*i+1))
		}
		if m != c.want {
			t.Errorf("%q: %+v, want %+v", c.looks, m, c.want)
		}
	}
}
