/* Is this answer, byte for byte, what the mock sent? Body bytes go in as they come, in any pieces. */
#ifndef BENCH_CHECK_H
#define BENCH_CHECK_H

#include "answers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX 512

struct check {
    bool wrong;
    size_t body_bytes;     /* of a whole answer */
    uint64_t pieces;       /* of a stream, with their last time stamp */
    uint64_t stamp_ns;
    bool finished, done;   /* the finish frame and [DONE] were seen */
    size_t frame_bytes;
    char frame[FRAME_MAX]; /* a frame of which the end has not come yet */
};

/* Called for every right piece with the time it was due at the mock. */
typedef void (*piece_fn)(uint64_t stamp_ns);

/* Say once what all answers have to be. */
void check_expect(const struct behaviour *behaviour, piece_fn seen);

void check_start(struct check *check);
void check_feed(struct check *check, const char *bytes, size_t count);

/* Whether what came is all of the answer and nothing else. */
bool check_is_whole(const struct check *check);

#endif
