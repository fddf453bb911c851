// Package hdr has codecs for the headers that baton handles: a slice type over
// the bytes of each header with a method for each field, a struct of its fields
// to encode and decode as a whole, and the Internet checksum, in full and
// incrementally.
//
//	frame[14:] --IPv4--> .TTL() .SetTTL() .Fields() .Encode(IPv4Fields)
//
// The methods of a slice type need as many bytes as the header's fixed part has
// (EthernetSize, IPv4Size, ...); who gets bytes from outside asks Valid first,
// which also checks the lengths in the header against the slice. The bytes are
// the caller's; nothing here keeps them, allocates or blocks.
package hdr
