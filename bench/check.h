/* Is this answer, byte for byte, what the mock sent? Body bytes go in as they come, in any pieces.
 *
 * Of gateways that rewrite answers, only the text is checked (`loose`): a whole answer has the mock's, and in a stream
 * each frame with a piece has its time stamp, in order, all of them, before the frames at its end. */
#ifndef BENCH_CHECK_H
#define BENCH_CHECK_H

#include "answers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX 2048

struct check {
    bool wrong;
    size_t body_bytes;     /* of a whole answer */
    size_t filling;        /* of one that was rewritten */
    uint64_t pieces;       /* of a stream, with their last time stamp */
    uint64_t stamp_ns;
    bool finished, done;   /* the finish frame and [DONE] were seen */
    size_t frame_bytes;
    char frame[FRAME_MAX]; /* a frame of which the end has not come yet */
};

/* Called for every right piece with the time it was due at the mock. */
typedef void (*piece_fn)(uint64_t stamp_ns);

/* Say once what all answers have to be. */
void check_expect(const struct behaviour *behaviour, bool loose, piece_fn seen);

void check_start(struct check *check);
void check_feed(struct check *check, const char *bytes, size_t count);

/* Whether what came is all of the answer and nothing else. */
bool check_is_whole(const struct check *check);

#endif
