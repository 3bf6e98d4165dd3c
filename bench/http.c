#define _GNU_SOURCE
#include "http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void http_start(struct http_message *message, bool is_response)
{
    message->state = HTTP_HEAD;
    message->is_response = is_response;
    message->chunked = false;
    message->left = 0;
    message->line_bytes = 0;
    message->head_bytes = 0;
}

const char *http_header(const struct http_message *message, const char *name, size_t *length)
{
    size_t name_bytes = strlen(name);
    const char *end = message->head + message->head_bytes;
    const char *line = memchr(message->head, '\n', message->head_bytes);

    while (line && ++line < end) {
        const char *stop = memchr(line, '\r', (size_t)(end - line));
        if (!stop)
            return NULL;
        if ((size_t)(stop - line) > name_bytes && line[name_bytes] == ':' && strncasecmp(line, name, name_bytes) == 0) {
            const char *value = line + name_bytes + 1;
            while (value < stop && *value == ' ')
                value++;
            *length = (size_t)(stop - value);
            return value;
        }
        line = memchr(stop, '\n', (size_t)(end - stop));
    }
    return NULL;
}

static bool header_is(const struct http_message *message, const char *name, const char *expected)
{
    size_t length;
    const char *value = http_header(message, name, &length);
    return value && length == strlen(expected) && strncasecmp(value, expected, length) == 0;
}

int http_status(const struct http_message *message)
{
    if (message->head_bytes < 12 || memcmp(message->head, "HTTP/1.", 7) != 0)
        return 0;
    return atoi(message->head + 9);
}

bool http_closes(const struct http_message *message)
{
    return header_is(message, "connection", "close");
}

static void read_head(struct http_message *message)
{
    size_t length;
    const char *value;

    if (message->is_response && http_status(message) == 0) {
        message->state = HTTP_BROKEN;
    } else if (header_is(message, "transfer-encoding", "chunked")) {
        message->chunked = true;
        message->state = HTTP_CHUNK_SIZE;
    } else if ((value = http_header(message, "content-length", &length))) {
        message->left = strtoull(value, NULL, 10);
        message->state = message->left ? HTTP_FIXED : HTTP_WHOLE;
    } else {
        message->state = message->is_response ? HTTP_BROKEN : HTTP_WHOLE;
    }
}

static size_t take_head(struct http_message *message, const char *bytes, size_t count)
{
    size_t before = message->head_bytes;
    size_t room = HTTP_HEAD_MAX - before;
    size_t copied = count < room ? count : room;
    size_t from = before > 3 ? before - 3 : 0;

    memcpy(message->head + before, bytes, copied);
    message->head_bytes = before + copied;
    const char *end = memmem(message->head + from, message->head_bytes - from, "\r\n\r\n", 4);
    if (!end) {
        if (message->head_bytes == HTTP_HEAD_MAX)
            message->state = HTTP_BROKEN;
        return copied;
    }
    message->head_bytes = (size_t)(end + 4 - message->head);
    read_head(message);
    return message->head_bytes - before;
}

static size_t take_body(struct http_message *message, const char *bytes, size_t count, http_body_fn body, void *owner)
{
    size_t taken = count < message->left ? count : (size_t)message->left;

    body(owner, bytes, taken);
    message->left -= taken;
    if (message->left == 0)
        message->state = message->chunked ? HTTP_CHUNK_END : HTTP_WHOLE;
    return taken;
}

static int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static void end_size_line(struct http_message *message)
{
    message->state = message->left ? HTTP_CHUNK_DATA : HTTP_TRAILER;
    message->line_bytes = 0;
}

static void take_size_byte(struct http_message *message, char byte)
{
    int digit = hex_digit(byte);

    if (digit >= 0 && message->line_bytes < 15) {
        message->left = message->left * 16 + (uint64_t)digit;
        message->line_bytes++;
    } else if (message->line_bytes > 0 && (byte == '\r' || byte == ';' || byte == ' ')) {
        message->state = HTTP_CHUNK_SKIP;
    } else {
        message->state = HTTP_BROKEN;
    }
}

static void take_framing_byte(struct http_message *message, char byte)
{
    switch (message->state) {
    case HTTP_CHUNK_SIZE:
        take_size_byte(message, byte);
        break;
    case HTTP_CHUNK_SKIP:
        if (byte == '\n')
            end_size_line(message);
        break;
    case HTTP_CHUNK_END:
        if (byte == '\n')
            message->state = HTTP_CHUNK_SIZE;
        else if (byte != '\r')
            message->state = HTTP_BROKEN;
        break;
    default: /* HTTP_TRAILER: lines up to an empty one */
        if (byte == '\n' && message->line_bytes == 0)
            message->state = HTTP_WHOLE;
        else if (byte == '\n')
            message->line_bytes = 0;
        else if (byte != '\r')
            message->line_bytes++;
    }
}

size_t http_feed(struct http_message *message, const char *bytes, size_t count, http_body_fn body, void *owner)
{
    size_t used = 0;

    while (used < count && message->state < HTTP_WHOLE) {
        switch (message->state) {
        case HTTP_HEAD:
            used += take_head(message, bytes + used, count - used);
            break;
        case HTTP_FIXED:
        case HTTP_CHUNK_DATA:
            used += take_body(message, bytes + used, count - used, body, owner);
            break;
        default:
            if (message->state == HTTP_CHUNK_END)
                message->line_bytes = 0;
            take_framing_byte(message, bytes[used++]);
        }
    }
    return used;
}
