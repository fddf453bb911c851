/* Shims of package eal: what DPDK has as macros, varargs or per-thread state. */
#ifndef BATON_EAL_H
#define BATON_EAL_H

#include <stddef.h>

/* rte_eal_init on the calling thread; 0 or -errno. The thread is no lcore afterwards. */
int baton_eal_init(int argc, char **argv);
int baton_eal_cleanup(void);
/* Sends DPDK's log to fd as records: level, length (2 bytes, little endian), text. */
int baton_eal_log_open(int fd);
void baton_eal_log_write(const char *text);
void baton_eal_strerror(int err, char *text, size_t size);
/* The lcore id of the calling thread; -1 if it is none. */
int baton_eal_lcore(void);
int baton_eal_max_lcore(void);
/* The path of the shared library that the EAL was loaded from. */
void baton_eal_library(char *path, size_t size);
int baton_eal_hotplug_add(const char *bus, const char *dev, const char *args);
int baton_eal_hotplug_remove(const char *bus, const char *dev);

#endif
