/* The data path of one queue pair. Package ethdev mirrors the struct in Go. */
#ifndef BATON_BURST_H
#define BATON_BURST_H

#include <stddef.h>
#include <stdint.h>

struct rte_mbuf;

#define BATON_TX_STAGE 128
#define BATON_RX_BURST 32

struct baton_burst {
	uint16_t port;
	uint16_t queue;
	uint32_t lcore;  /* id whose mempool cache is used, LCORE_ID_ANY: none */
	uint32_t tx_num; /* staged */
	uint32_t rx_num;
	uint32_t prepare; /* some staged packet asks for offloads */
	uint32_t refused; /* packets freed because the device cannot send them; the reader clears it */
	struct rte_mbuf *tx[BATON_TX_STAGE];
	struct rte_mbuf *rx[BATON_RX_BURST];
};

/* Sends what is staged (after rte_eth_tx_prepare, if prepare is set), then receives into rx[rx_num:]. */
void baton_burst_poll(struct baton_burst *b);
/* The first half and the second half of poll. */
void baton_burst_flush(struct baton_burst *b);
void baton_burst_recv(struct baton_burst *b);
/* Frees what is staged and what was received and not taken. */
void baton_burst_drop(struct baton_burst *b);

#endif
