#define _GNU_SOURCE
#include "eal.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>

int baton_eal_init(int argc, char **argv)
{
	int ret = rte_eal_init(argc, argv);
	int err = rte_errno;

	/* Not an lcore any more: the per-lcore caches are not for this thread. */
	RTE_PER_LCORE(_lcore_id) = LCORE_ID_ANY;
	if (ret >= 0)
		return 0;
	return err > 0 ? -err : -EFAULT;
}

int baton_eal_cleanup(void)
{
	return rte_eal_cleanup();
}

/* Text of one record: with its head it stays below PIPE_BUF, so a write is atomic. */
#define RECORD_TEXT 2048

static ssize_t log_write(void *cookie, const char *text, size_t size)
{
	int fd = (int)(intptr_t)cookie;
	uint8_t record[3 + RECORD_TEXT];
	size_t done = 0;

	while (done < size) {
		size_t n = size - done;
		ssize_t ret;

		if (n > RECORD_TEXT)
			n = RECORD_TEXT;
		record[0] = (uint8_t)rte_log_cur_msg_loglevel();
		record[1] = (uint8_t)n;
		record[2] = (uint8_t)(n >> 8);
		memcpy(record + 3, text + done, n);
		do
			ret = write(fd, record, n + 3);
		while (ret < 0 && errno == EINTR);
		if (ret < 0)
			return (ssize_t)done;
		done += n;
	}
	return (ssize_t)size;
}

int baton_eal_log_open(int fd)
{
	cookie_io_functions_t io = { .write = log_write };
	FILE *stream = fopencookie((void *)(intptr_t)fd, "w", io);

	if (stream == NULL)
		return -errno;
	return rte_openlog_stream(stream);
}

void baton_eal_log_write(const char *text)
{
	rte_log(RTE_LOG_NOTICE, RTE_LOGTYPE_USER1, "%s\n", text);
}

void baton_eal_strerror(int err, char *text, size_t size)
{
	snprintf(text, size, "%s", rte_strerror(err));
}

int baton_eal_lcore(void)
{
	unsigned int id = rte_lcore_id();

	return id == LCORE_ID_ANY ? -1 : (int)id;
}

int baton_eal_max_lcore(void)
{
	return RTE_MAX_LCORE;
}

void baton_eal_library(char *path, size_t size)
{
	Dl_info info;

	path[0] = 0;
	if (dladdr((void *)(uintptr_t)rte_eal_init, &info) != 0 && info.dli_fname != NULL)
		snprintf(path, size, "%s", info.dli_fname);
}

int baton_eal_hotplug_add(const char *bus, const char *dev, const char *args)
{
	int ret = rte_eal_hotplug_add(bus, dev, args);

	if (ret == -1)
		ret = rte_errno > 0 ? -rte_errno : -EIO;
	return ret;
}

int baton_eal_hotplug_remove(const char *bus, const char *dev)
{
	return rte_eal_hotplug_remove(bus, dev);
}
