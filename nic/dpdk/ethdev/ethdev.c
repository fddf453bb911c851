#include "ethdev.h"

#include <errno.h>
#include <string.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <linux/if_packet.h>

#include <rte_ethdev.h>

int baton_eth_count(void)
{
	return rte_eth_dev_count_avail();
}

int baton_eth_by_name(const char *name)
{
	uint16_t port;
	int ret = rte_eth_dev_get_port_by_name(name, &port);

	return ret < 0 ? ret : port;
}

int baton_eth_info(uint16_t port, struct baton_dev_info *info)
{
	struct rte_eth_dev_info dev;
	int ret = rte_eth_dev_info_get(port, &dev);

	if (ret < 0)
		return ret;
	memset(info, 0, sizeof(*info));
	snprintf(info->driver, sizeof(info->driver), "%s", dev.driver_name);
	info->if_index = dev.if_index;
	info->max_rx_pktlen = dev.max_rx_pktlen;
	info->min_mtu = dev.min_mtu;
	info->max_mtu = dev.max_mtu;
	info->max_rx_queues = dev.max_rx_queues;
	info->max_tx_queues = dev.max_tx_queues;
	info->min_rx_bufsize = dev.min_rx_bufsize;
	info->rx_offloads = dev.rx_offload_capa;
	info->tx_offloads = dev.tx_offload_capa;
	info->rss = dev.flow_type_rss_offloads;
	info->socket = rte_eth_dev_socket_id(port);
	return 0;
}

int baton_eth_configure(uint16_t port, struct baton_conf *conf)
{
	struct rte_eth_conf eth;
	struct rte_eth_dev_info dev;
	int ret = rte_eth_dev_info_get(port, &dev);

	if (ret < 0)
		return ret;
	memset(&eth, 0, sizeof(eth));
	/* Scatter stays off: a received frame is one buffer. */
	eth.rxmode.offloads = conf->rx_offloads;
	eth.txmode.offloads = conf->tx_offloads;
	eth.rxmode.mtu = conf->mtu;
	eth.intr_conf.rxq = conf->rx_intr != 0;
	if (conf->queues > 1) {
		/* Tunnels differ in their outer UDP source port: that is what spreads. */
		eth.rx_adv_conf.rss_conf.rss_hf = dev.flow_type_rss_offloads &
			(RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP);
		if (eth.rx_adv_conf.rss_conf.rss_hf != 0)
			eth.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
	}
	ret = rte_eth_dev_configure(port, conf->queues, conf->queues, &eth);
	if (ret < 0)
		return ret;
	return rte_eth_dev_adjust_nb_rx_tx_desc(port, &conf->rx_desc, &conf->tx_desc);
}

int baton_eth_queue_setup(uint16_t port, uint16_t queue, const struct baton_conf *conf, struct rte_mempool *mp)
{
	unsigned int socket = (unsigned int)rte_eth_dev_socket_id(port);
	int ret = rte_eth_rx_queue_setup(port, queue, conf->rx_desc, socket, NULL, mp);

	if (ret < 0)
		return ret;
	return rte_eth_tx_queue_setup(port, queue, conf->tx_desc, socket, NULL);
}

int baton_eth_start(uint16_t port) { return rte_eth_dev_start(port); }
int baton_eth_stop(uint16_t port) { return rte_eth_dev_stop(port); }
int baton_eth_close(uint16_t port) { return rte_eth_dev_close(port); }

int baton_eth_mac(uint16_t port, uint8_t *mac)
{
	struct rte_ether_addr addr;
	int ret = rte_eth_macaddr_get(port, &addr);

	if (ret == 0)
		memcpy(mac, addr.addr_bytes, RTE_ETHER_ADDR_LEN);
	return ret;
}

int baton_eth_set_mac(uint16_t port, const uint8_t *mac)
{
	struct rte_ether_addr addr;

	memcpy(addr.addr_bytes, mac, RTE_ETHER_ADDR_LEN);
	return rte_eth_dev_default_mac_addr_set(port, &addr);
}

int baton_eth_add_mac(uint16_t port, const uint8_t *mac)
{
	struct rte_ether_addr addr;

	memcpy(addr.addr_bytes, mac, RTE_ETHER_ADDR_LEN);
	return rte_eth_dev_mac_addr_add(port, &addr, 0);
}

int baton_eth_remove_mac(uint16_t port, const uint8_t *mac)
{
	struct rte_ether_addr addr;

	memcpy(addr.addr_bytes, mac, RTE_ETHER_ADDR_LEN);
	return rte_eth_dev_mac_addr_remove(port, &addr);
}

int baton_eth_mtu(uint16_t port)
{
	uint16_t mtu;
	int ret = rte_eth_dev_get_mtu(port, &mtu);

	return ret < 0 ? ret : mtu;
}

int baton_eth_set_mtu(uint16_t port, uint16_t mtu)
{
	return rte_eth_dev_set_mtu(port, mtu);
}

int baton_eth_promisc(uint16_t port, int on)
{
	return on ? rte_eth_promiscuous_enable(port) : rte_eth_promiscuous_disable(port);
}

int baton_eth_link(uint16_t port, struct baton_link *link)
{
	struct rte_eth_link l;
	int ret = rte_eth_link_get_nowait(port, &l);

	if (ret < 0)
		return ret;
	link->speed = l.link_speed;
	link->up = l.link_status;
	link->full_duplex = l.link_duplex;
	return 0;
}

int baton_eth_stats(uint16_t port, struct baton_eth_stats *stats)
{
	struct rte_eth_stats s;
	int ret = rte_eth_stats_get(port, &s);

	if (ret < 0)
		return ret;
	stats->ipackets = s.ipackets;
	stats->opackets = s.opackets;
	stats->ibytes = s.ibytes;
	stats->obytes = s.obytes;
	stats->imissed = s.imissed;
	stats->ierrors = s.ierrors;
	stats->oerrors = s.oerrors;
	stats->rx_nombuf = s.rx_nombuf;
	return 0;
}

int baton_eth_stats_reset(uint16_t port) { return rte_eth_stats_reset(port); }

int baton_eth_xstats(uint16_t port, struct baton_xstat *out, int num)
{
	int i, n = rte_eth_xstats_get(port, NULL, 0);
	struct rte_eth_xstat *values;
	struct rte_eth_xstat_name *names;

	if (n <= 0 || out == NULL)
		return n;
	if (num < n)
		return -ENOSPC;
	values = calloc(n, sizeof(*values));
	names = calloc(n, sizeof(*names));
	if (values == NULL || names == NULL) {
		n = -ENOMEM;
		goto out;
	}
	n = RTE_MIN(n, rte_eth_xstats_get_names(port, names, n));
	if (n > 0)
		n = RTE_MIN(n, rte_eth_xstats_get(port, values, n));
	for (i = 0; i < n; i++) {
		snprintf(out[i].name, sizeof(out[i].name), "%s", names[values[i].id].name);
		out[i].value = values[i].value;
	}
out:
	free(values);
	free(names);
	return n;
}

int baton_eth_intr_fd(uint16_t port, uint16_t queue)
{
	int fd = rte_eth_dev_rx_intr_ctl_q_get_fd(port, queue);

	return fd < 0 ? -ENOTSUP : fd;
}

int baton_eth_intr_enable(uint16_t port, uint16_t queue)
{
	return rte_eth_dev_rx_intr_enable(port, queue);
}

int baton_eth_intr_disable(uint16_t port, uint16_t queue)
{
	return rte_eth_dev_rx_intr_disable(port, queue);
}

int baton_eth_packet_socket(uint16_t port, uint16_t queue, int if_index)
{
	const void *rxq = rte_eth_fp_ops[port].rxq.data[queue];
	struct sockaddr_ll addr;
	socklen_t len = sizeof(int);
	int fd, domain = 0, version = -1;

	if (rxq == NULL)
		return -ENOTSUP;
	/* The driver's queue begins with its socket. That is not part of any
	 * interface, so whether it is one is asked of the kernel. */
	memcpy(&fd, rxq, sizeof(fd));
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_PACKET)
		return -ENOTSUP;
	len = sizeof(int);
	if (getsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, &len) < 0 || version != TPACKET_V2)
		return -ENOTSUP;
	len = sizeof(addr);
	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0 || addr.sll_ifindex != if_index)
		return -ENOTSUP;
	return fd;
}
