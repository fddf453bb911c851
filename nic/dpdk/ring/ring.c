#include "ring.h"

#include <rte_errno.h>
#include <rte_memory.h>
#include <rte_ring.h>

struct rte_ring *baton_ring_create(const char *name, unsigned int num, int *err)
{
	struct rte_ring *r = rte_ring_create(name, num, SOCKET_ID_ANY,
			RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ);

	*err = r == NULL ? rte_errno : 0;
	return r;
}

void baton_ring_free(struct rte_ring *r)
{
	rte_ring_free(r);
}

unsigned int baton_ring_enqueue(struct rte_ring *r, const uintptr_t *objs, unsigned int num)
{
	return rte_ring_sp_enqueue_burst(r, (void * const *)objs, num, NULL);
}

unsigned int baton_ring_dequeue(struct rte_ring *r, uintptr_t *objs, unsigned int num)
{
	return rte_ring_sc_dequeue_burst(r, (void **)objs, num, NULL);
}

unsigned int baton_ring_count(const struct rte_ring *r)
{
	return rte_ring_count(r);
}

unsigned int baton_ring_capacity(const struct rte_ring *r)
{
	return rte_ring_get_capacity(r);
}
