#define _GNU_SOURCE
#include "answers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CREATED 1700000000

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool behaviour_of(struct behaviour *behaviour, const char *model, size_t length)
{
    unsigned long long pieces, per_second;
    int used = 0;

    if (length == 0 || length > MODEL_MAX)
        return false;
    memcpy(behaviour->model, model, length);
    behaviour->model[length] = 0;
    behaviour->streams = false;
    behaviour->pieces = behaviour->per_second = 0;
    if (strcmp(behaviour->model, "json") == 0)
        return true;
    if (sscanf(behaviour->model, "stream-%llu-%llu%n", &pieces, &per_second, &used) != 2 || (size_t)used != length)
        return false;
    behaviour->streams = pieces > 0;
    behaviour->pieces = pieces;
    behaviour->per_second = per_second;
    return behaviour->streams && per_second <= 1000000;
}

void piece_of(struct piece *piece, const char *model)
{
    char text[PIECE_BYTES + 1];
    int before = snprintf(text, sizeof text,
                          "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":%d,"
                          "\"model\":\"%s\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
                          CREATED, model);
    const char *after = "\"},\"finish_reason\":null}]}\n\n";
    size_t after_bytes = strlen(after);

    if (before < 0 || (size_t)before + STAMP_DIGITS + after_bytes > PIECE_BYTES)
        abort(); /* MODEL_MAX is too large for PIECE_BYTES */
    memset(piece->text, 'x', PIECE_BYTES);
    memcpy(piece->text, text, (size_t)before);
    memcpy(piece->text + PIECE_BYTES - after_bytes, after, after_bytes);
    piece->stamp_at = (size_t)before;
    piece_stamp(piece->text, piece, 0);
}

void piece_stamp(char *text, const struct piece *piece, uint64_t at_ns)
{
    char *digit = text + piece->stamp_at + STAMP_DIGITS;

    for (int i = 0; i < STAMP_DIGITS; i++) {
        *--digit = (char)('0' + at_ns % 10);
        at_ns /= 10;
    }
}

uint64_t piece_read(const char *frame, size_t length, const struct piece *piece)
{
    size_t behind = piece->stamp_at + STAMP_DIGITS;
    uint64_t at_ns = 0;

    if (length != PIECE_BYTES || memcmp(frame, piece->text, piece->stamp_at) != 0
        || memcmp(frame + behind, piece->text + behind, PIECE_BYTES - behind) != 0)
        return 0;
    for (size_t i = piece->stamp_at; i < behind; i++) {
        if (frame[i] < '0' || frame[i] > '9')
            return 0;
        at_ns = at_ns * 10 + (uint64_t)(frame[i] - '0');
    }
    return at_ns;
}

size_t whole_answer(char *text, const char *model)
{
    char before[JSON_BYTES];
    const char *after = "\"},\"finish_reason\":\"stop\"}],"
                        "\"usage\":{\"prompt_tokens\":230,\"completion_tokens\":170,\"total_tokens\":400}}";
    int before_bytes = snprintf(before, sizeof before,
                                "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":%d,\"model\":\"%s\","
                                "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"",
                                CREATED, model);

    memset(text, 'x', JSON_BYTES);
    memcpy(text, before, (size_t)before_bytes);
    memcpy(text + JSON_BYTES - strlen(after), after, strlen(after));
    return JSON_BYTES;
}

size_t end_frames(char *text, const char *model)
{
    return (size_t)snprintf(text, END_FRAMES_MAX,
                            "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":%d,"
                            "\"model\":\"%s\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
                            "data: [DONE]\n\n",
                            CREATED, model);
}
