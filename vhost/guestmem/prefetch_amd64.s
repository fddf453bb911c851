//go:build !purego

#include "textflag.h"

// func prefetch(s *Span, n int, write bool)
//
// The first two cache lines of each of n spans: a Span is 16 bytes, its address first.
// A prefetch never faults, whatever the address. Where a line ends with a virtio header,
// this line is loaded for a read also for a write: see Span.PutHeader.
TEXT ·prefetch(SB), NOSPLIT, $0-17
	MOVQ s+0(FP), SI
	MOVQ n+8(FP), CX
	MOVBLZX write+16(FP), AX
	TESTQ CX, CX
	JLE  done
	TESTL AX, AX
	JNZ  stores
loads:
	MOVQ (SI), DX
	PREFETCHT0 (DX)
	PREFETCHT0 64(DX)
	ADDQ $16, SI
	DECQ CX
	JNZ  loads
	RET
stores:
	MOVQ (SI), DX
	MOVL DX, AX
	ANDL $63, AX
	CMPL AX, $52                                    // 64 less a header
	JAE  apart
	BYTE $0x0f; BYTE $0x0d; BYTE $0x0a              // PREFETCHW (DX)
	BYTE $0x0f; BYTE $0x0d; BYTE $0x4a; BYTE $0x40  // PREFETCHW 64(DX)
	ADDQ $16, SI
	DECQ CX
	JNZ  stores
	RET
apart:
	PREFETCHT0 (DX)
	BYTE $0x0f; BYTE $0x0d; BYTE $0x4a; BYTE $0x0c  // PREFETCHW 12(DX)
	ADDQ $16, SI
	DECQ CX
	JNZ  stores
done:
	RET

// func prefetchRange(p unsafe.Pointer, n uintptr, write bool)
//
// The cache lines of n bytes at p.
TEXT ·prefetchRange(SB), NOSPLIT, $0-17
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	MOVBLZX write+16(FP), AX
	ADDQ SI, CX
	ANDQ $~63, SI
	TESTL AX, AX
	JNZ  wcheck
rnext:
	CMPQ SI, CX
	JAE  rdone
	PREFETCHT0 (SI)
	ADDQ $64, SI
	JMP  rnext
wnext:
	BYTE $0x0f; BYTE $0x0d; BYTE $0x0e              // PREFETCHW (SI)
	ADDQ $64, SI
wcheck:
	CMPQ SI, CX
	JB   wnext
rdone:
	RET
