#define _GNU_SOURCE
#include "check.h"

#include <string.h>

static const struct behaviour *expected;
static bool is_loose;
static piece_fn piece_seen;
static struct piece piece;
static char whole[JSON_BYTES];
static size_t whole_bytes, whole_filling;
static char ends[END_FRAMES_MAX];
static size_t ends_bytes, finish_bytes;

void check_expect(const struct behaviour *behaviour, bool loose, piece_fn seen)
{
    expected = behaviour;
    is_loose = loose;
    piece_seen = seen;
    if (!behaviour->streams) {
        whole_bytes = whole_answer(whole, behaviour->model);
        for (size_t i = 0; i < whole_bytes; i++)
            whole_filling += whole[i] == 'x';
        return;
    }
    piece_of(&piece, behaviour->model);
    ends_bytes = end_frames(ends, behaviour->model);
    finish_bytes = (size_t)((const char *)memmem(ends, ends_bytes, "\n\n", 2) - ends) + 2;
}

void check_start(struct check *check)
{
    memset(check, 0, offsetof(struct check, frame));
}

static void take_whole(struct check *check, const char *bytes, size_t count)
{
    if (is_loose)
        for (const char *byte = bytes; byte < bytes + count; byte++)
            check->filling += *byte == 'x';
    else if (count > whole_bytes - check->body_bytes || memcmp(whole + check->body_bytes, bytes, count) != 0)
        check->wrong = true;
    else
        check->body_bytes += count;
}

/* The digits of a piece's content, wherever they are in a frame: they stand before its filling. 0 if there are none. */
static uint64_t stamp_anywhere(const char *bytes, size_t count)
{
    const char *filling = memmem(bytes, count, "xxxx", 4);
    uint64_t at_ns = 0;

    if (!filling || filling - bytes < STAMP_DIGITS)
        return 0;
    for (const char *digit = filling - STAMP_DIGITS; digit < filling; digit++) {
        if (*digit < '0' || *digit > '9')
            return 0;
        at_ns = at_ns * 10 + (uint64_t)(*digit - '0');
    }
    return at_ns;
}

static bool take_piece(struct check *check, const char *bytes, size_t count)
{
    uint64_t stamp_ns = is_loose ? stamp_anywhere(bytes, count) : piece_read(bytes, count, &piece);

    if (stamp_ns == 0)
        return false;
    if (check->finished || stamp_ns < check->stamp_ns) /* out of order */
        check->wrong = true;
    check->stamp_ns = stamp_ns;
    check->pieces++;
    piece_seen(stamp_ns);
    return true;
}

static void take_frame(struct check *check)
{
    const char *frame = check->frame;
    size_t count = check->frame_bytes;

    if (frame[0] == ':' || take_piece(check, frame, count))
        return; /* a comment is nothing to any client */
    if (is_loose) {
        check->done |= memmem(frame, count, "[DONE]", 6) != NULL;
        return; /* a head, a finish, usage: each gateway has its own */
    }
    if (!check->finished && count == finish_bytes && memcmp(frame, ends, count) == 0)
        check->finished = true;
    else if (check->finished && !check->done && count == ends_bytes - finish_bytes
             && memcmp(frame, ends + finish_bytes, count) == 0)
        check->done = true;
    else
        check->wrong = true;
}

static void take_stream(struct check *check, const char *bytes, size_t count)
{
    const char *end = bytes + count;

    while (bytes < end && !check->wrong) {
        if (!is_loose && check->frame_bytes == 0 && end - bytes >= PIECE_BYTES && take_piece(check, bytes, PIECE_BYTES)) {
            bytes += PIECE_BYTES;
            continue;
        }
        check->frame[check->frame_bytes++] = *bytes++;
        if (check->frame_bytes > 1 && memcmp(check->frame + check->frame_bytes - 2, "\n\n", 2) == 0) {
            take_frame(check);
            check->frame_bytes = 0;
        } else if (check->frame_bytes == FRAME_MAX) {
            check->wrong = true;
        }
    }
}

void check_feed(struct check *check, const char *bytes, size_t count)
{
    if (expected->streams)
        take_stream(check, bytes, count);
    else if (!check->wrong)
        take_whole(check, bytes, count);
}

bool check_is_whole(const struct check *check)
{
    if (check->wrong)
        return false;
    if (!expected->streams)
        return is_loose ? check->filling >= whole_filling : check->body_bytes == whole_bytes;
    return check->done && check->pieces == expected->pieces && check->frame_bytes == 0;
}
