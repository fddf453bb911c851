#include "burst.h"

#include <string.h>

#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

static inline uint16_t send_first(struct baton_burst *b, uint16_t num)
{
	uint16_t sent = rte_eth_tx_burst(b->port, b->queue, b->tx, num);

	b->tx_num -= sent;
	if (unlikely(b->tx_num > 0))
		memmove(b->tx, b->tx + sent, b->tx_num * sizeof(b->tx[0]));
	return sent;
}

/* Packets that the device had no room for are prepared again with the next poll:
 * that writes the same once more. One that the driver refuses is at the head once
 * those before it are gone. */
static void send_prepared(struct baton_burst *b)
{
	while (b->tx_num > 0) {
		uint16_t ready = rte_eth_tx_prepare(b->port, b->queue, b->tx, (uint16_t)b->tx_num);

		if (ready > 0) {
			if (send_first(b, ready) < ready)
				return;
			continue;
		}
		rte_pktmbuf_free(b->tx[0]);
		b->refused++;
		b->tx_num--;
		memmove(b->tx, b->tx + 1, b->tx_num * sizeof(b->tx[0]));
	}
	b->prepare = 0;
}

static inline void send_staged(struct baton_burst *b)
{
	if (unlikely(b->prepare))
		send_prepared(b);
	else
		send_first(b, (uint16_t)b->tx_num);
}

static inline void receive(struct baton_burst *b)
{
	b->rx_num += rte_eth_rx_burst(b->port, b->queue, b->rx + b->rx_num,
			(uint16_t)(BATON_RX_BURST - b->rx_num));
}

/* The thread is the queue's lcore for the time of one call. Nothing else can run
 * on the thread meanwhile, so the id is never in two places. */
#define AS_LCORE(b, call) do { \
	unsigned int saved = RTE_PER_LCORE(_lcore_id); \
	RTE_PER_LCORE(_lcore_id) = (b)->lcore; \
	call; \
	RTE_PER_LCORE(_lcore_id) = saved; \
} while (0)

static void poll_both(struct baton_burst *b)
{
	if (b->tx_num > 0)
		send_staged(b);
	receive(b);
}

void baton_burst_poll(struct baton_burst *b)
{
	AS_LCORE(b, poll_both(b));
}

void baton_burst_flush(struct baton_burst *b)
{
	AS_LCORE(b, send_staged(b));
}

void baton_burst_recv(struct baton_burst *b)
{
	AS_LCORE(b, receive(b));
}

void baton_burst_drop(struct baton_burst *b)
{
	rte_pktmbuf_free_bulk(b->tx, b->tx_num);
	rte_pktmbuf_free_bulk(b->rx, b->rx_num);
	b->tx_num = 0;
	b->rx_num = 0;
}
