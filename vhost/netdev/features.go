package netdev

import (
	"fmt"

	"baton/vhost/proto"
)

// Offloads are the feature bits by which frames pass unfinished: without their
// checksums, or longer than the MTU.
const Offloads = fromGuest | toGuest

// What a guest may send unfinished, and what it takes so.
const (
	fromGuest = proto.FeatureCsum | proto.FeatureHostTSO4 | proto.FeatureHostTSO6 | proto.FeatureHostECN
	toGuest   = proto.FeatureGuestCsum | proto.FeatureGuestTSO4 | proto.FeatureGuestTSO6 | proto.FeatureGuestECN
)

// implemented is every feature that there is code for. Which of them a device offers
// is its configuration's matter, and that of what was negotiated before, see pin.
const implemented = proto.FeatureVersion1 | proto.FeatureMrgRxbuf | proto.FeatureIndirectDesc |
	proto.FeatureEventIdx | proto.FeatureRingPacked | proto.FeatureInOrder | Offloads | proto.FeatureLogAll |
	proto.FeatureGuestAnnounce | proto.FeatureProtocol | proto.FeatureMQ | proto.FeatureMTU

// implementedProtocol is the same for protocol features.
const implementedProtocol = proto.ProtocolMQ | proto.ProtocolLogShmfd | proto.ProtocolRARP | proto.ProtocolReplyAck | proto.ProtocolNetMTU |
	proto.ProtocolBackendReq | proto.ProtocolResetDevice | proto.ProtocolConfigureMemSlots | proto.ProtocolStatus

// configured are the features that a front end is offered which was not here before.
func (d *Device) configured() uint64 {
	f := uint64(implemented) &^ d.cfg.Without
	if len(d.queues) == 1 {
		f &^= proto.FeatureMQ
	}
	if d.cfg.MTU == 0 {
		f &^= proto.FeatureMTU
	}
	return consistent(f)
}

// consistent takes away what needs a feature that is not there: a device must not
// offer such (virtio 1.2, 5.1.3.1).
func consistent(f uint64) uint64 {
	need := func(bits, one uint64) {
		if f&one == 0 {
			f &^= bits
		}
	}
	need(proto.FeatureHostTSO4|proto.FeatureHostTSO6, proto.FeatureCsum)
	need(proto.FeatureHostECN, proto.FeatureHostTSO4|proto.FeatureHostTSO6)
	need(proto.FeatureGuestTSO4|proto.FeatureGuestTSO6, proto.FeatureGuestCsum)
	need(proto.FeatureGuestECN, proto.FeatureGuestTSO4|proto.FeatureGuestTSO6)
	return f
}

// meant is what a driver means that acknowledged f without what f needs. The
// specification forbids it, and front ends do it (virtio_user asks for HOST_TSO4 alone
// if its application does), so that refusing would lose guests that work elsewhere.
// To the guest goes nothing that it did not ask for in full; from it comes what the
// part that it asked for makes sense with.
func meant(f uint64) uint64 {
	if f&proto.FeatureHostECN != 0 && f&(proto.FeatureHostTSO4|proto.FeatureHostTSO6) == 0 {
		f &^= proto.FeatureHostECN // what could be marked is not sent
	}
	if f&(proto.FeatureHostTSO4|proto.FeatureHostTSO6) != 0 {
		f |= proto.FeatureCsum // super-segments have partial checksums
	}
	return f&^toGuest | consistent(f)&toGuest
}

// Features implements proto.Backend: only what works, and to a front end that comes
// back what it was offered before.
func (d *Device) Features() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.offered()
}

// offered is Features. Caller holds mu.
func (d *Device) offered() uint64 {
	if d.pinned() {
		return d.pin.Offered & implemented
	}
	return d.configured()
}

// ProtocolFeatures implements proto.Backend.
func (d *Device) ProtocolFeatures() uint64 { return implementedProtocol }

// SetFeatures implements proto.Backend. The same set again is nothing new. LOG_ALL
// comes and goes without a pause; another set restarts running rings where they are.
//
//	error: bits not offered; LOG_ALL with a log too small for the guest's memory
func (d *Device) SetFeatures(features uint64) error {
	d.enter()
	defer d.release()
	const what = "set features"
	if extra := features &^ d.offered(); extra != 0 {
		return d.refuse(what, fmt.Errorf("bits %#x: %w", extra, errNotOffered))
	}
	if features&proto.FeatureLogAll != 0 {
		if err := d.covered(d.log, d.table); err != nil {
			return d.refuse(what, err)
		}
	}
	if d.recalled && bare(features) {
		features |= d.pin.Acked &^ proto.FeatureProtocol // it goes on forgetting
	}
	d.keep(features)
	switch change := features ^ d.features; {
	case d.acked && change == 0:
	case d.acked && change == proto.FeatureLogAll:
		d.features = features
		d.review()
	default:
		d.stop(d.rings...)
		d.features, d.acked, d.recalled = features, true, false
		d.startAll()
	}
	return nil
}

// SetProtocolFeatures implements proto.Backend.
func (d *Device) SetProtocolFeatures(features uint64) error {
	d.enter()
	defer d.release()
	if extra := features &^ d.ProtocolFeatures(); extra != 0 {
		return d.refuse("set protocol features", fmt.Errorf("bits %#x: %w", extra, errNotOffered))
	}
	d.protocol = features
	return nil
}
