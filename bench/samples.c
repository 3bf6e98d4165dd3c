#include "samples.h"

#include <stdio.h>
#include <stdlib.h>

void samples_add(struct samples *samples, uint64_t ns)
{
    if (samples->count == samples->room) {
        samples->room = samples->room ? samples->room * 2 : 1 << 16;
        samples->ns = realloc(samples->ns, samples->room * sizeof *samples->ns);
        if (!samples->ns)
            abort();
    }
    samples->ns[samples->count++] = ns;
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Nearest rank: the smallest sample that `share` of all samples do not exceed. */
static double percentile_us(const struct samples *samples, double share)
{
    size_t rank = (size_t)(share * (double)samples->count + 0.999999);
    return (double)samples->ns[rank > 0 ? rank - 1 : 0] / 1e3;
}

void samples_print(struct samples *samples)
{
    double sum = 0;

    if (samples->count == 0) {
        printf("{\"count\":0}");
        return;
    }
    qsort(samples->ns, samples->count, sizeof *samples->ns, compare);
    for (size_t i = 0; i < samples->count; i++)
        sum += (double)samples->ns[i];
    printf("{\"count\":%zu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}", samples->count,
           sum / (double)samples->count / 1e3, percentile_us(samples, 0.5), percentile_us(samples, 0.9),
           percentile_us(samples, 0.99), percentile_us(samples, 0.999), percentile_us(samples, 1.0));
}
