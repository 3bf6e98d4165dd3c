#include "timers.h"

#include <stdlib.h>

struct timer {
    uint64_t due_ns;
    void *owner;
};

static struct timer *heap;
static size_t count, room;

static void sift_up(size_t hole, struct timer timer)
{
    while (hole > 0 && heap[(hole - 1) / 2].due_ns > timer.due_ns) {
        heap[hole] = heap[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    heap[hole] = timer;
}

static void sift_down(size_t hole, struct timer timer)
{
    for (;;) {
        size_t child = hole * 2 + 1;
        if (child + 1 < count && heap[child + 1].due_ns < heap[child].due_ns)
            child++;
        if (child >= count || heap[child].due_ns >= timer.due_ns)
            break;
        heap[hole] = heap[child];
        hole = child;
    }
    heap[hole] = timer;
}

static void take_off(size_t at)
{
    struct timer moved = heap[--count];

    if (at == count)
        return;
    if (moved.due_ns < heap[at].due_ns)
        sift_up(at, moved);
    else
        sift_down(at, moved);
}

void timers_add(void *owner, uint64_t due_ns)
{
    if (count == room) {
        room = room ? room * 2 : 1024;
        heap = realloc(heap, room * sizeof *heap);
        if (!heap)
            abort();
    }
    sift_up(count++, (struct timer){due_ns, owner});
}

uint64_t timers_next_ns(void)
{
    return count ? heap[0].due_ns : UINT64_MAX;
}

void *timers_take(void)
{
    void *owner = heap[0].owner;
    take_off(0);
    return owner;
}

void timers_forget(const void *owner)
{
    for (size_t i = 0; i < count; i++)
        if (heap[i].owner == owner) {
            take_off(i);
            return;
        }
}
