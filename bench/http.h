/* One HTTP/1.1 message read from bytes that come in any pieces. Knows no socket; serves requests and responses alike. */
#ifndef BENCH_HTTP_H
#define BENCH_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX 8192

enum http_state {
    HTTP_HEAD,
    HTTP_FIXED,       /* a body of Content-Length bytes */
    HTTP_CHUNK_SIZE,
    HTTP_CHUNK_SKIP,  /* the rest of a size line: an extension, CR, LF */
    HTTP_CHUNK_DATA,
    HTTP_CHUNK_END,   /* CR LF behind a chunk */
    HTTP_TRAILER,
    HTTP_WHOLE,       /* the message has ended as its framing says */
    HTTP_BROKEN,      /* not HTTP, or a response whose end could not be told from a cut */
};

struct http_message {
    enum http_state state;
    bool is_response;
    bool chunked;
    uint64_t left;  /* bytes of the body, or of the chunk, still to come */
    size_t line_bytes;
    size_t head_bytes;
    char head[HTTP_HEAD_MAX];
};

/* Called with each run of body bytes, framing removed. */
typedef void (*http_body_fn)(void *owner, const char *bytes, size_t count);

void http_start(struct http_message *message, bool is_response);

/* Take bytes up to the end of this message; returns how many were used. */
size_t http_feed(struct http_message *message, const char *bytes, size_t count, http_body_fn body, void *owner);

/* The value of a header (name in any case), or NULL. `length` gets its length. Valid once the head is read. */
const char *http_header(const struct http_message *message, const char *name, size_t *length);

/* The status of a response; 0 if there is none. */
int http_status(const struct http_message *message);

/* Whether the sender announced that it closes the connection after this message. */
bool http_closes(const struct http_message *message);

#endif
