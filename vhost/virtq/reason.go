package virtq

// Reason says why a ring was broken.
type Reason uint32

// The reasons. Names are stable, numbers are not.
const (
	ReasonNone           Reason = iota
	ReasonAvailJump             // available index further ahead than the ring is long
	ReasonBadHead               // available entry names no descriptor
	ReasonBadNext               // next names no descriptor of the table
	ReasonChainTooLong          // chain longer than the ring, or a loop
	ReasonBadAddress            // buffer or indirect table not in guest memory, or its range wraps
	ReasonIndirectLen           // indirect table's length is 0 or not a multiple of 16
	ReasonIndirectSize          // indirect table longer than the ring
	ReasonIndirectNested        // indirect descriptor inside an indirect table
	ReasonIndirectNext          // indirect descriptor with a next
	ReasonIndirectOff           // indirect descriptor without the feature
	ReasonWritable              // device-writable buffer in a transmit chain
	ReasonReadOnly              // device-readable buffer in a receive chain
	ReasonTinyBuffers           // receive buffers too small: header does not fit, or too many for one frame
	ReasonMemoryGone            // guest memory vanished while in use
	NumReasons           = int(iota)
)

var reasonTexts = [NumReasons][2]string{
	ReasonNone:           {"none", "not broken"},
	ReasonAvailJump:      {"avail_jump", "available index is further ahead than the ring is long"},
	ReasonBadHead:        {"bad_head", "available entry names no descriptor"},
	ReasonBadNext:        {"bad_next", "next names no descriptor of the table"},
	ReasonChainTooLong:   {"chain_too_long", "descriptor chain is longer than the ring, or a loop"},
	ReasonBadAddress:     {"bad_address", "buffer or indirect table is not in guest memory"},
	ReasonIndirectLen:    {"indirect_len", "indirect table's length is 0 or not a multiple of 16"},
	ReasonIndirectSize:   {"indirect_size", "indirect table is longer than the ring"},
	ReasonIndirectNested: {"indirect_nested", "indirect descriptor inside an indirect table"},
	ReasonIndirectNext:   {"indirect_next", "indirect descriptor has a next one"},
	ReasonIndirectOff:    {"indirect_off", "indirect descriptor, but the feature was not negotiated"},
	ReasonWritable:       {"writable", "device-writable buffer in a transmit chain"},
	ReasonReadOnly:       {"read_only", "device-readable buffer in a receive chain"},
	ReasonTinyBuffers:    {"tiny_buffers", "receive buffers are too small for the header, or too many for one frame"},
	ReasonMemoryGone:     {"memory_gone", "guest memory vanished while in use (file truncated)"},
}

// String is the reason's stable name.
func (r Reason) String() string {
	if int(r) >= NumReasons {
		return "unknown"
	}
	return reasonTexts[r][0]
}

// Describe is a sentence for people.
func (r Reason) Describe() string {
	if int(r) >= NumReasons {
		return "a reason that this version does not know"
	}
	return reasonTexts[r][1]
}
