package proto_test

import (
	"testing"

	"baton/vhost/proto"
)

// TestScripts runs the message order of each front end, as captured from QEMU
// 7.2, from DPDK 22.11 virtio_user, and from QEMU at the start and end of a live
// migration, against a device that records.
func TestScripts(t *testing.T) {
	for name, steps := range map[string][]step{
		"qemu":        qemuScript(),
		"virtio_user": virtioUserScript(),
		"migration":   migrationScript(),
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name, transcript(newPeer(t, newRecorder()), steps))
		})
	}
}

func get(r proto.Request) step { return step{req: r, reply: true} }

func vringAddr(ring, flags uint32) []byte {
	base := uint64(ring+1) << 16
	return proto.AppendVringAddr(nil, proto.VringAddr{
		Index: ring, Flags: flags, Desc: base, Used: base + 0x2000, Avail: base + 0x1000, Log: 0x100,
	})
}

// qemuScript is a guest with two queue pairs that starts and stops its driver.
func qemuScript() []step {
	steps := []step{
		get(proto.GetFeatures), get(proto.GetProtocolFeatures),
		{req: proto.SetProtocolFeatures, payload: u64(0x1a03f)},
		get(proto.GetQueueNum), get(proto.GetMaxMemSlots),
		{req: proto.SetBackendReqFD, fds: 1, ack: true},
		{req: proto.SetOwner}, get(proto.GetFeatures),
	}
	for ring := range uint64(4) {
		steps = append(steps,
			step{req: proto.SetVringCall, payload: u64(ring), fds: 1},
			step{req: proto.SetVringErr, payload: u64(ring), fds: 1})
	}
	// The guest's driver starts; enabling comes before the rings exist.
	steps = append(steps, step{req: proto.NetSetMTU, payload: u64(1442), ack: true})
	for ring := range uint32(4) {
		steps = append(steps, step{req: proto.SetVringEnable, payload: vring(ring, 1)})
	}
	features := proto.FeatureVersion1 | proto.FeatureMrgRxbuf | proto.FeatureMQ | proto.FeatureProtocol
	for range 2 { // once for each queue pair
		steps = append(steps,
			step{req: proto.SetFeatures, payload: u64(features)},
			get(proto.GetStatus),
			step{req: proto.SetStatus, payload: u64(8)},
			step{req: proto.AddMemReg, payload: region(0, 1<<20), fds: 1, ack: true})
	}
	for ring := range uint32(4) {
		steps = append(steps,
			step{req: proto.SetVringNum, payload: vring(ring, 256)},
			step{req: proto.SetVringBase, payload: vring(ring, 0)},
			step{req: proto.SetVringAddr, payload: vringAddr(ring, 0)},
			step{req: proto.SetVringKick, payload: u64(uint64(ring)), fds: 1},
			step{req: proto.SetVringCall, payload: u64(uint64(ring)), fds: 1})
	}
	steps = append(steps, step{req: proto.SetStatus, payload: u64(0xf)},
		step{req: proto.RemMemReg, payload: region(0, 1<<20), fds: 1, ack: true})
	for ring := range uint32(4) {
		steps = append(steps, step{req: proto.GetVringBase, payload: vring(ring, 0), reply: true})
	}
	return append(steps, step{req: proto.SetStatus, payload: u64(0)})
}

// virtioUserScript is testpmd with two queues that starts and stops.
func virtioUserScript() []step {
	order := []uint32{0, 2, 1, 3}
	steps := []step{
		{req: proto.SetOwner}, get(proto.GetFeatures), get(proto.GetProtocolFeatures),
		{req: proto.SetProtocolFeatures, payload: u64(0x10009)}, get(proto.GetQueueNum),
	}
	for _, ring := range order {
		steps = append(steps, step{req: proto.SetVringCall, payload: u64(uint64(ring)), fds: 1})
	}
	features := proto.FeatureVersion1 | proto.FeatureMrgRxbuf | proto.FeatureMQ | proto.FeatureProtocol
	steps = append(steps,
		step{req: proto.SetFeatures, payload: u64(features)},
		step{req: proto.SetStatus, payload: u64(0xb), ack: true},
		get(proto.GetStatus),
		step{req: proto.SetMemTable, payload: table(2), fds: 2, ack: true})
	for _, ring := range order {
		steps = append(steps,
			step{req: proto.SetVringNum, payload: vring(ring, 256)},
			step{req: proto.SetVringBase, payload: vring(ring, 0)},
			step{req: proto.SetVringAddr, payload: vringAddr(ring, 0)},
			step{req: proto.SetVringKick, payload: u64(uint64(ring)), fds: 1})
	}
	steps = append(steps,
		step{req: proto.SetVringEnable, payload: vring(0, 1)},
		step{req: proto.SetVringEnable, payload: vring(1, 1)},
		step{req: proto.SetStatus, payload: u64(0xf), ack: true},
		step{req: proto.SetVringEnable, payload: vring(2, 1)},
		step{req: proto.SetVringEnable, payload: vring(3, 1)})
	for ring := range uint32(4) { // the number is what lies on its stack
		steps = append(steps, step{req: proto.GetVringBase, payload: vring(ring, 0xdeadbeef), reply: true})
	}
	// A second SET_FEATURES after the stop adds offloads.
	return append(steps, step{req: proto.SetFeatures, payload: u64(features)})
}

// migrationScript is what QEMU sends when a migration begins and ends.
func migrationScript() []step {
	features := proto.FeatureVersion1 | proto.FeatureProtocol
	return []step{
		{req: proto.SetProtocolFeatures, payload: u64(0x1a03f)},
		{req: proto.SetFeatures, payload: u64(features), ack: true},
		{req: proto.SetLogBase, payload: proto.AppendLog(nil, 4096, 0), fds: 1, reply: true},
		{req: proto.SetFeatures, payload: u64(features | proto.FeatureLogAll), ack: true},
		{req: proto.SetVringAddr, payload: vringAddr(0, 1), ack: true},
		{req: proto.SetVringAddr, payload: vringAddr(1, 1), ack: true},
		{req: proto.GetVringBase, payload: vring(0, 0), reply: true},
		{req: proto.GetVringBase, payload: vring(1, 0), reply: true},
		{req: proto.SendRARP, payload: []byte{2, 0, 0, 0, 0, 7, 0, 0}, ack: true},
		{req: proto.SetLogFD, fds: 1, ack: true},
	}
}
