package proto

// Virtio feature bits (virtio 1.2 section 5.1.3 for the network device, section
// 6 for the rest) as masks for GET_FEATURES and SET_FEATURES.
const (
	FeatureCsum          uint64 = 1 << 0  // VIRTIO_NET_F_CSUM: device completes checksums
	FeatureGuestCsum     uint64 = 1 << 1  // VIRTIO_NET_F_GUEST_CSUM: driver takes partial checksums
	FeatureMTU           uint64 = 1 << 3  // VIRTIO_NET_F_MTU: device tells the MTU
	FeatureMAC           uint64 = 1 << 5  // VIRTIO_NET_F_MAC: the front end's matter
	FeatureGuestTSO4     uint64 = 1 << 7  // VIRTIO_NET_F_GUEST_TSO4
	FeatureGuestTSO6     uint64 = 1 << 8  // VIRTIO_NET_F_GUEST_TSO6
	FeatureGuestECN      uint64 = 1 << 9  // VIRTIO_NET_F_GUEST_ECN
	FeatureGuestUFO      uint64 = 1 << 10 // VIRTIO_NET_F_GUEST_UFO: deprecated, not offered
	FeatureHostTSO4      uint64 = 1 << 11 // VIRTIO_NET_F_HOST_TSO4
	FeatureHostTSO6      uint64 = 1 << 12 // VIRTIO_NET_F_HOST_TSO6
	FeatureHostECN       uint64 = 1 << 13 // VIRTIO_NET_F_HOST_ECN
	FeatureHostUFO       uint64 = 1 << 14 // VIRTIO_NET_F_HOST_UFO: deprecated, not offered
	FeatureMrgRxbuf      uint64 = 1 << 15 // VIRTIO_NET_F_MRG_RXBUF: a frame may span receive buffers
	FeatureStatus        uint64 = 1 << 16 // VIRTIO_NET_F_STATUS: the front end's matter
	FeatureCtrlVQ        uint64 = 1 << 17 // VIRTIO_NET_F_CTRL_VQ: the front end's matter
	FeatureGuestAnnounce uint64 = 1 << 21 // VIRTIO_NET_F_GUEST_ANNOUNCE: the guest announces itself after migration
	FeatureMQ            uint64 = 1 << 22 // VIRTIO_NET_F_MQ
	FeatureLogAll        uint64 = 1 << 26 // VHOST_F_LOG_ALL: log all writes to guest memory
	FeatureIndirectDesc  uint64 = 1 << 28 // VIRTIO_F_INDIRECT_DESC
	FeatureEventIdx      uint64 = 1 << 29 // VIRTIO_F_EVENT_IDX
	FeatureProtocol      uint64 = 1 << 30 // VHOST_USER_F_PROTOCOL_FEATURES; its absence enables all rings
	FeatureVersion1      uint64 = 1 << 32 // VIRTIO_F_VERSION_1
	FeatureRingPacked    uint64 = 1 << 34 // VIRTIO_F_RING_PACKED
	FeatureInOrder       uint64 = 1 << 35 // VIRTIO_F_IN_ORDER
)

// Protocol feature bits (vhost-user specification, "Protocol features") as masks
// for GET_PROTOCOL_FEATURES and SET_PROTOCOL_FEATURES. Only what baton
// implements has a name here; a device must not offer others.
const (
	ProtocolMQ                uint64 = 1 << 0  // GET_QUEUE_NUM is understood
	ProtocolLogShmfd          uint64 = 1 << 1  // SET_LOG_BASE brings a file and gets a reply
	ProtocolRARP              uint64 = 1 << 2  // SEND_RARP is understood
	ProtocolReplyAck          uint64 = 1 << 3  // NEED_REPLY is honoured
	ProtocolNetMTU            uint64 = 1 << 4  // NET_SET_MTU is understood
	ProtocolBackendReq        uint64 = 1 << 5  // SET_BACKEND_REQ_FD is understood
	ProtocolResetDevice       uint64 = 1 << 13 // RESET_DEVICE is understood
	ProtocolConfigureMemSlots uint64 = 1 << 15 // GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG are understood
	ProtocolStatus            uint64 = 1 << 16 // SET_STATUS and GET_STATUS are understood
)
