//go:build !purego

#include "textflag.h"

// A prefetch never faults, whatever the address. SSE2 is all that is asked of the
// processor: every amd64 has it.

// func prefetch(base unsafe.Pointer, hashes *[32]uint64, n int, shift uint, mask uint64)
TEXT ·prefetch(SB), NOSPLIT, $0-40
	MOVQ base+0(FP), DI
	MOVQ hashes+8(FP), SI
	MOVQ n+16(FP), R10
	MOVQ shift+24(FP), CX
	MOVQ mask+32(FP), R8
	TESTQ R10, R10
	JLE  done
loop:
	MOVQ (SI), AX
	SHRQ CX, AX
	ANDQ R8, AX
	PREFETCHT0 (DI)(AX*1)
	ADDQ $8, SI
	DECQ R10
	JNZ  loop
done:
	RET

// func prefetchEntry(e *Entry)
TEXT ·prefetchEntry(SB), NOSPLIT, $0-8
	MOVQ e+0(FP), DI
	PREFETCHT0 (DI)
	PREFETCHT0 128(DI)
	PREFETCHT0 192(DI)
	RET

// func prefetchLines(p unsafe.Pointer, num int)
TEXT ·prefetchLines(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), DI
	MOVQ num+8(FP), CX
	TESTQ CX, CX
	JLE  done
loop:
	PREFETCHT0 (DI)
	ADDQ $64, DI
	DECQ CX
	JNZ  loop
done:
	RET

// func matchMega(buckets *megaBucket, entries *Entry, hashes *[32]uint64, ways *[32]uint32, n int, shift uint)
//
// A bucket is 16 tags of 16 bits, an entry 256 bytes. Without a candidate the first
// entry of all is prefetched, which is as good as nothing.
TEXT ·matchMega(SB), NOSPLIT, $0-48
	MOVQ buckets+0(FP), DI
	MOVQ entries+8(FP), SI
	MOVQ hashes+16(FP), R8
	MOVQ ways+24(FP), R9
	MOVQ n+32(FP), R10
	MOVQ shift+40(FP), CX
	TESTQ R10, R10
	JLE  done
loop:
	MOVQ (R8), AX
	MOVQ AX, DX
	SHRQ CX, DX               // bucket
	ORL  $1, AX               // tag
	MOVL AX, X0
	PSHUFLW $0, X0, X0
	PSHUFD $0, X0, X0         // in all words
	MOVQ DX, R11
	SHLQ $5, R11
	MOVOU (DI)(R11*1), X1
	MOVOU 16(DI)(R11*1), X2
	PCMPEQW X0, X1
	PCMPEQW X0, X2
	PACKSSWB X2, X1
	PMOVMSKB X1, BX           // bit w: way w
	MOVL BX, (R9)
	SHLQ $4, DX
	BSFL BX, R12
	ADDQ R12, DX
	SHLQ $8, DX
	ADDQ SI, DX
	TESTL BX, BX
	CMOVQEQ SI, DX
	PREFETCHT0 (DX)
	PREFETCHT0 128(DX)
	ADDQ $8, R8
	ADDQ $4, R9
	DECQ R10
	JNZ  loop
done:
	RET

// func matchMicro(buckets *microBucket, entries *Entry, hashes *[32]uint64, ways *[32]uint32, n int, shift uint)
//
// A bucket is 8 signatures and 8 numbers of entries, 32 bits each.
TEXT ·matchMicro(SB), NOSPLIT, $0-48
	MOVQ buckets+0(FP), DI
	MOVQ entries+8(FP), SI
	MOVQ hashes+16(FP), R8
	MOVQ ways+24(FP), R9
	MOVQ n+32(FP), R10
	MOVQ shift+40(FP), CX
	TESTQ R10, R10
	JLE  done
	XORL R12, R12
	XORL R13, R13
loop:
	MOVQ (R8), AX
	MOVQ AX, DX
	SHRQ CX, DX               // bucket
	MOVL AX, X0
	PSHUFD $0, X0, X0         // signature, in all double words
	SHLQ $6, DX
	ADDQ DI, DX
	MOVOU (DX), X1
	MOVOU 16(DX), X2
	PCMPEQL X0, X1
	PCMPEQL X0, X2
	PACKSSLW X2, X1
	PACKSSWB X1, X1
	PMOVMSKB X1, BX
	ANDL $0xff, BX            // bit w: way w
	MOVL BX, (R9)
	BSFL BX, R12
	CMOVLEQ R13, R12
	MOVL 32(DX)(R12*4), R11   // number of the entry
	SHLQ $8, R11
	ADDQ SI, R11
	PREFETCHT0 (R11)
	PREFETCHT0 128(R11)
	ADDQ $8, R8
	ADDQ $4, R9
	DECQ R10
	JNZ  loop
done:
	RET
