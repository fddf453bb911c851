package proto

import (
	"fmt"
	"math/bits"
)

var featureNames = map[uint64]string{
	FeatureCsum:          "CSUM",
	FeatureGuestCsum:     "GUEST_CSUM",
	FeatureMTU:           "MTU",
	FeatureMAC:           "MAC",
	FeatureGuestTSO4:     "GUEST_TSO4",
	FeatureGuestTSO6:     "GUEST_TSO6",
	FeatureGuestECN:      "GUEST_ECN",
	FeatureGuestUFO:      "GUEST_UFO",
	FeatureHostTSO4:      "HOST_TSO4",
	FeatureHostTSO6:      "HOST_TSO6",
	FeatureHostECN:       "HOST_ECN",
	FeatureHostUFO:       "HOST_UFO",
	FeatureMrgRxbuf:      "MRG_RXBUF",
	FeatureStatus:        "STATUS",
	FeatureCtrlVQ:        "CTRL_VQ",
	FeatureGuestAnnounce: "GUEST_ANNOUNCE",
	FeatureMQ:            "MQ",
	FeatureLogAll:        "LOG_ALL",
	FeatureIndirectDesc:  "INDIRECT_DESC",
	FeatureEventIdx:      "EVENT_IDX",
	FeatureProtocol:      "PROTOCOL_FEATURES",
	FeatureVersion1:      "VERSION_1",
	FeatureRingPacked:    "RING_PACKED",
	FeatureInOrder:       "IN_ORDER",
}

var protocolNames = map[uint64]string{
	ProtocolMQ:                "MQ",
	ProtocolLogShmfd:          "LOG_SHMFD",
	ProtocolRARP:              "RARP",
	ProtocolReplyAck:          "REPLY_ACK",
	ProtocolNetMTU:            "NET_MTU",
	ProtocolBackendReq:        "BACKEND_REQ",
	ProtocolResetDevice:       "RESET_DEVICE",
	ProtocolConfigureMemSlots: "CONFIGURE_MEM_SLOTS",
	ProtocolStatus:            "STATUS",
}

// FeatureNames are the names of the bits in features, as the virtio
// specification has them without their prefix, lowest bit first; a bit without a
// name here is "BIT_n".
func FeatureNames(features uint64) []string { return bitNames(features, featureNames) }

// ProtocolFeatureNames is FeatureNames for protocol features, with the vhost-user
// specification's names.
func ProtocolFeatureNames(features uint64) []string { return bitNames(features, protocolNames) }

func bitNames(features uint64, known map[uint64]string) []string {
	names := []string{}
	for left := features; left != 0; left &= left - 1 {
		bit := left & -left
		name, ok := known[bit]
		if !ok {
			name = fmt.Sprintf("BIT_%d", bits.TrailingZeros64(bit))
		}
		names = append(names, name)
	}
	return names
}
