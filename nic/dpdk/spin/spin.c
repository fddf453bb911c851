#include "spin.h"

#include <rte_cycles.h>

uint64_t baton_spin(uint64_t *out, uint64_t room, uint64_t floor, uint64_t length)
{
	uint64_t begin = rte_rdtsc(), last = begin, num = 0;

	while (last - begin < length) {
		uint64_t now = rte_rdtsc();

		if (now - last >= floor) {
			if (num < room)
				out[num] = now - last;
			num++;
		}
		last = now;
	}
	return num;
}
