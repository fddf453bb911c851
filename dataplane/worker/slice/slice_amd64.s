//go:build go1.26 && !go1.27 && goexperiment.greenteagc && !purego

#include "textflag.h"
#include "go_asm.h"

// Assembly is never preempted: the processor stays the same from its look-up to its use.

// func tick()
TEXT ·tick(SB), NOSPLIT, $0-0
	MOVQ (TLS), AX
	MOVQ const_gM(AX), AX
	MOVQ const_mP(AX), AX
	INCL const_pSchedtick(AX)
	RET

// func look(s *state)
TEXT ·look(SB), NOSPLIT, $0-8
	MOVQ s+0(FP), DI
	MOVQ (TLS), AX
	MOVQ AX, state_g(DI)
	MOVQ const_gM(AX), AX
	MOVQ AX, state_m(DI)
	MOVQ const_mCurg(AX), CX
	MOVQ CX, state_curg(DI)
	MOVQ const_mP(AX), AX
	MOVQ const_pM(AX), CX
	MOVQ CX, state_back(DI)
	MOVL const_pID(AX), CX
	MOVL CX, state_id(DI)
	MOVL const_pSchedtick(AX), CX
	MOVL CX, state_schedtick(DI)
	MOVL const_pSyscalltick(AX), CX
	MOVL CX, state_syscalltick(DI)
	MOVL const_pRunqhead(AX), CX
	MOVL CX, state_head(DI)
	MOVL const_pRunqtail(AX), CX
	MOVL CX, state_tail(DI)
	MOVQ const_pRunnext(AX), CX
	MOVQ CX, state_next(DI)
	MOVQ const_pTimers+const_timersMinWhenHeap(AX), CX
	MOVQ CX, state_heap(DI)
	MOVQ const_pTimers+const_timersMinWhenModified(AX), CX
	MOVQ CX, state_modified(DI)
	RET
