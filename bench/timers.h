/* Things that are due, the next one first: a binary heap. */
#ifndef BENCH_TIMERS_H
#define BENCH_TIMERS_H

#include <stddef.h>
#include <stdint.h>

void timers_add(void *owner, uint64_t due_ns);

/* When the next one is due; UINT64_MAX if there is none. */
uint64_t timers_next_ns(void);

/* The next one, taken off. There must be one. */
void *timers_take(void);

void timers_forget(const void *owner);

#endif
