/* Shims of package ethdev: control. All return 0 or more, or -errno. */
#ifndef BATON_ETHDEV_H
#define BATON_ETHDEV_H

#include <stdint.h>

struct rte_mempool;

struct baton_dev_info {
	char driver[64];
	uint32_t if_index;
	uint32_t max_rx_pktlen;
	uint16_t min_mtu;
	uint16_t max_mtu;
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	uint32_t min_rx_bufsize;
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	uint64_t rss;
	int32_t socket;
};

struct baton_conf {
	uint16_t queues;
	uint16_t rx_desc; /* in: wanted, out: what the device agrees to */
	uint16_t tx_desc;
	uint16_t mtu; /* 0: the device's */
	int rx_intr;
	uint64_t rx_offloads; /* RTE_ETH_RX_OFFLOAD_*, which the device offers */
	uint64_t tx_offloads;
};

struct baton_link {
	uint32_t speed;
	int up;
	int full_duplex;
};

struct baton_eth_stats {
	uint64_t ipackets, opackets, ibytes, obytes, imissed, ierrors, oerrors, rx_nombuf;
};

struct baton_xstat {
	char name[64];
	uint64_t value;
};

int baton_eth_count(void);
int baton_eth_by_name(const char *name);
int baton_eth_info(uint16_t port, struct baton_dev_info *info);
int baton_eth_configure(uint16_t port, struct baton_conf *conf);
int baton_eth_queue_setup(uint16_t port, uint16_t queue, const struct baton_conf *conf, struct rte_mempool *mp);
int baton_eth_start(uint16_t port);
int baton_eth_stop(uint16_t port);
int baton_eth_close(uint16_t port);
int baton_eth_mac(uint16_t port, uint8_t *mac);
int baton_eth_set_mac(uint16_t port, const uint8_t *mac);
int baton_eth_add_mac(uint16_t port, const uint8_t *mac);
int baton_eth_remove_mac(uint16_t port, const uint8_t *mac);
int baton_eth_mtu(uint16_t port);
int baton_eth_set_mtu(uint16_t port, uint16_t mtu);
int baton_eth_promisc(uint16_t port, int on);
int baton_eth_link(uint16_t port, struct baton_link *link);
int baton_eth_stats(uint16_t port, struct baton_eth_stats *stats);
int baton_eth_stats_reset(uint16_t port);
int baton_eth_xstats(uint16_t port, struct baton_xstat *out, int num);
/* The descriptor that a started queue's receive interrupt makes readable. */
int baton_eth_intr_fd(uint16_t port, uint16_t queue);
int baton_eth_intr_enable(uint16_t port, uint16_t queue);
int baton_eth_intr_disable(uint16_t port, uint16_t queue);
/* The packet socket of a started net_af_packet queue that is bound to if_index. */
int baton_eth_packet_socket(uint16_t port, uint16_t queue, int if_index);

#endif
