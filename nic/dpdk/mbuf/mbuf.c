#include "mbuf.h"

#include <rte_mbuf.h>

void baton_mbuf_free(struct rte_mbuf *m)
{
	rte_pktmbuf_free(m);
}

int baton_mbuf_check(const struct rte_mbuf *m, const char **reason)
{
	return rte_mbuf_check(m, 1, reason);
}

struct rte_mbuf *baton_mbuf_clone(struct rte_mbuf *m)
{
	return rte_pktmbuf_clone(m, m->pool);
}
