#include "mempool.h"

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

struct rte_mempool *baton_mempool_create(const char *name, unsigned int num, unsigned int cache,
		uint16_t data_room, int socket, int *err)
{
	struct rte_mempool *mp = rte_pktmbuf_pool_create(name, num, cache, 0, data_room, socket);

	*err = mp == NULL ? rte_errno : 0;
	return mp;
}

void baton_mempool_free(struct rte_mempool *mp)
{
	rte_mempool_free(mp);
}

int baton_mempool_get(struct rte_mempool *mp, uintptr_t *bufs, unsigned int num)
{
	/* No cache: the calling thread is no lcore. */
	return rte_mempool_generic_get(mp, (void **)bufs, num, NULL) == 0;
}

void baton_mempool_put(struct rte_mempool *mp, const uintptr_t *bufs, unsigned int num)
{
	rte_mempool_generic_put(mp, (void * const *)bufs, num, NULL);
}

unsigned int baton_mempool_avail(struct rte_mempool *mp)
{
	return rte_mempool_avail_count(mp);
}

void baton_mempool_flush(struct rte_mempool *mp, unsigned int lcore)
{
	struct rte_mempool_cache *cache = rte_mempool_default_cache(mp, lcore);

	if (cache != NULL)
		rte_mempool_cache_flush(cache, mp);
}
