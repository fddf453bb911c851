/* Shims of package mempool. Buffers are passed as arrays of addresses. */
#ifndef BATON_MEMPOOL_H
#define BATON_MEMPOOL_H

#include <stdint.h>

struct rte_mempool;

/* NULL on failure, with *err = errno. */
struct rte_mempool *baton_mempool_create(const char *name, unsigned int num, unsigned int cache,
		uint16_t data_room, int socket, int *err);
void baton_mempool_free(struct rte_mempool *mp);
/* Past all caches of lcores. 0 if there are too few. */
int baton_mempool_get(struct rte_mempool *mp, uintptr_t *bufs, unsigned int num);
void baton_mempool_put(struct rte_mempool *mp, const uintptr_t *bufs, unsigned int num);
unsigned int baton_mempool_avail(struct rte_mempool *mp);
/* Gives back what is in the cache of an lcore id that nobody uses now. */
void baton_mempool_flush(struct rte_mempool *mp, unsigned int lcore);

#endif
