/* A loop that reads the time stamp counter. */
#ifndef BATON_SPIN_H
#define BATON_SPIN_H

#include <stdint.h>

/* Spins for length cycles and writes each time between two looks at the counter that is
 * at least floor to out, as long as there is room; returns how many there were. */
uint64_t baton_spin(uint64_t *out, uint64_t room, uint64_t floor, uint64_t length);

#endif
