/* Shims of package ring. Objects are passed as arrays of addresses. */
#ifndef BATON_RING_H
#define BATON_RING_H

#include <stdint.h>

struct rte_ring;

/* NULL on failure, with *err = errno. */
struct rte_ring *baton_ring_create(const char *name, unsigned int num, int *err);
void baton_ring_free(struct rte_ring *r);
unsigned int baton_ring_enqueue(struct rte_ring *r, const uintptr_t *objs, unsigned int num);
unsigned int baton_ring_dequeue(struct rte_ring *r, uintptr_t *objs, unsigned int num);
unsigned int baton_ring_count(const struct rte_ring *r);
unsigned int baton_ring_capacity(const struct rte_ring *r);

#endif
