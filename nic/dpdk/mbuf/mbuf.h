/* Shims of package mbuf: functions that DPDK has inline only. */
#ifndef BATON_MBUF_H
#define BATON_MBUF_H

#include <stdint.h>

struct rte_mbuf;

void baton_mbuf_free(struct rte_mbuf *m);
/* 0 if the buffer is sound, else -1 and why. */
int baton_mbuf_check(const struct rte_mbuf *m, const char **reason);
/* A clone of m whose headers come from m's own pool; NULL if that is empty. */
struct rte_mbuf *baton_mbuf_clone(struct rte_mbuf *m);

#endif
