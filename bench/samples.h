/* Measured times, all of them kept: percentiles are exact. */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

struct samples {
    size_t count, room;
    uint64_t *ns;
};

void samples_add(struct samples *samples, uint64_t ns);

/* Print {"count":..,"mean":..,"p50":.., ...} in microseconds; sorts the samples. */
void samples_print(struct samples *samples);

#endif
