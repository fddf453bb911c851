package netdev_test

import (
	"testing"

	"baton/dataplane/port"
	"baton/vhost/netdev"
	"baton/vhost/proto"
)

// What is switched off is not offered, nor what needs it.
func TestWithout(t *testing.T) {
	for _, c := range []struct{ without, missing uint64 }{
		{0, 0},
		{netdev.Offloads, netdev.Offloads},
		{proto.FeatureRingPacked, proto.FeatureRingPacked},
		{proto.FeatureCsum, proto.FeatureCsum | proto.FeatureHostTSO4 | proto.FeatureHostTSO6 | proto.FeatureHostECN},
		{proto.FeatureGuestCsum, proto.FeatureGuestCsum | proto.FeatureGuestTSO4 | proto.FeatureGuestTSO6 | proto.FeatureGuestECN},
		{proto.FeatureHostTSO4 | proto.FeatureHostTSO6, proto.FeatureHostTSO4 | proto.FeatureHostTSO6 | proto.FeatureHostECN},
	} {
		all := newRig(t, nil).dev.Features()
		g := newRig(t, func(cfg *netdev.Config) { cfg.Without = c.without })
		if got := all &^ g.dev.Features(); got != c.missing {
			t.Errorf("without %#x: %#x is missing, want %#x", c.without, got, c.missing)
		}
	}
}

// What the device sends to a guest follows from the features that are whole; none is
// refused, since front ends acknowledge what the specification forbids.
func TestOffloadsFollowFeatures(t *testing.T) {
	for features, want := range map[uint64]port.Offloads{
		0:                      0,
		proto.FeatureGuestCsum: port.OffloadCsum,
		proto.FeatureGuestTSO4: 0, // without GUEST_CSUM
		proto.FeatureGuestECN | proto.FeatureGuestCsum:                          port.OffloadCsum,
		proto.FeatureGuestTSO4 | proto.FeatureGuestCsum:                         port.OffloadCsum | port.OffloadTSO4,
		proto.FeatureGuestTSO6 | proto.FeatureGuestCsum | proto.FeatureGuestECN: port.OffloadCsum | port.OffloadTSO6 | port.OffloadECN,
		proto.FeatureHostTSO4: 0, // virtio_user with TSO and no checksums
		proto.FeatureHostECN:  0,
		netdev.Offloads:       port.OffloadCsum | port.OffloadTSO4 | port.OffloadTSO6 | port.OffloadECN,
	} {
		g := newRig(t, nil)
		q := g.dev.Queue(0).(port.Offloader)
		if q.Offloads() != 0 {
			t.Error("offloads without a guest")
		}
		g.connect(modern | features)
		if got := q.Offloads(); got != want {
			t.Errorf("features %#x: offloads %b, want %b", features, got, want)
		}
		g.passes()
		g.dev.Disconnected()
		if q.Offloads() != 0 {
			t.Error("offloads of a guest that is gone")
		}
	}
}
