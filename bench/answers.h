/* What the mock LLM answers, byte for byte: the mock writes it, the load generator checks it against the same text. */
#ifndef BENCH_ANSWERS_H
#define BENCH_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_MAX 20         /* longest model name: a piece must hold it and still be PIECE_BYTES long */
#define PIECE_BYTES 200      /* one SSE frame with its blank line */
#define JSON_BYTES 1024      /* a whole answer */
#define END_FRAMES_MAX 320   /* the finish frame and [DONE] */
#define STAMP_DIGITS 19

/* What the model's name asks for: "json" a whole answer, "stream-<pieces>-<per second>" a stream (0 a second: unpaced). */
struct behaviour {
    char model[MODEL_MAX + 1];
    bool streams;
    uint64_t pieces;
    uint64_t per_second;
};

/* False for a name that asks for nothing the mock can do. */
bool behaviour_of(struct behaviour *behaviour, const char *model, size_t length);

/* The one frame that is sent again and again; only the time stamp in it changes. */
struct piece {
    char text[PIECE_BYTES];
    size_t stamp_at;
};

void piece_of(struct piece *piece, const char *model);
void piece_stamp(char *text, const struct piece *piece, uint64_t at_ns);

/* The time stamp of a frame that is this piece in every other byte; 0 if it is not. */
uint64_t piece_read(const char *frame, size_t length, const struct piece *piece);

/* Both return the length; the text needs JSON_BYTES or END_FRAMES_MAX of room. */
size_t whole_answer(char *text, const char *model);
size_t end_frames(char *text, const char *model);

uint64_t now_ns(void);  /* CLOCK_MONOTONIC: the same in every process of this machine */

#endif
