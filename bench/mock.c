/* The mock LLM server: one thread, epoll, OpenAI's shapes. What it answers is told by the model's name (answers.h).
 *
 * usage: mock PORT MODEL...
 *
 * A paced piece carries the time at which it was due, not the time at which it went out: if this server or a full
 * socket makes it late, that is part of the delay the reader measures. */
#define _GNU_SOURCE
#include "answers.h"
#include "http.h"
#include "timers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_MAX (128 * 1024) /* gateways that rewrite bodies may put the model behind the messages */
#define BATCH_PIECES 64        /* written at once when a stream is not paced, or is behind */
#define SEND_BUFFER (256 * 1024) /* of an unpaced stream's socket: else the kernel takes megabytes before it pushes back */
#define CHUNKED_PIECE (4 + PIECE_BYTES + 2)
#define OUT_MAX (BATCH_PIECES * CHUNKED_PIECE + END_FRAMES_MAX + 512)
#define EVENTS 512

struct connection {
    int fd;
    bool watches_output;
    struct http_message request;
    size_t body_bytes, out_from, out_to;
    bool streaming;
    struct behaviour behaviour;
    struct piece piece;
    uint64_t pieces_left, period_ns, due_ns;
    char body[BODY_MAX + 1];
    char out[OUT_MAX];
};

static int epoll_fd;
static int model_count;
static char **models;

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static void watch_output(struct connection *connection, bool wanted)
{
    if (connection->watches_output == wanted)
        return;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = connection};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
    connection->watches_output = wanted;
}

static void put(struct connection *connection, const char *bytes, size_t count)
{
    if (connection->out_to + count > OUT_MAX)
        abort();
    memcpy(connection->out + connection->out_to, bytes, count);
    connection->out_to += count;
}

/* Write what is pending. 1: all is written, 0: the socket is full, -1: the reader is gone. */
static int flush(struct connection *connection)
{
    while (connection->out_from < connection->out_to) {
        ssize_t sent = send(connection->fd, connection->out + connection->out_from,
                            connection->out_to - connection->out_from, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        connection->out_from += (size_t)sent;
    }
    connection->out_from = connection->out_to = 0;
    return 1;
}

/* As put_chunk below, but made without printf: this is done a million times a second. */
static void put_piece(struct connection *connection)
{
    _Static_assert(PIECE_BYTES == 0xc8, "the size line says so");
    put(connection, "c8\r\n", 4);
    put(connection, connection->piece.text, PIECE_BYTES);
    put(connection, "\r\n", 2);
}

static void put_chunk(struct connection *connection, const char *bytes, size_t count)
{
    char size[16];
    put(connection, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", count));
    put(connection, bytes, count);
    put(connection, "\r\n", 2);
}

static void put_end(struct connection *connection)
{
    char frames[END_FRAMES_MAX];
    size_t count = end_frames(frames, connection->behaviour.model);
    put_chunk(connection, frames, count);
    put(connection, "0\r\n\r\n", 5);
    connection->streaming = false;
    http_start(&connection->request, false);
    connection->body_bytes = 0;
}

/* Put the pieces that are due, at most a batch of them, and the end behind the last one. */
static void put_due_pieces(struct connection *connection, uint64_t now)
{
    bool paced = connection->period_ns > 0;

    for (int i = 0; i < BATCH_PIECES && connection->pieces_left > 0; i++) {
        if (paced && connection->due_ns > now)
            return;
        piece_stamp(connection->piece.text, &connection->piece, paced ? connection->due_ns : now);
        put_piece(connection);
        connection->due_ns += connection->period_ns;
        connection->pieces_left--;
    }
    if (connection->pieces_left == 0)
        put_end(connection);
}

/* Carry a stream on: called when a piece is due or when the socket has room. False: the reader is gone. */
static bool advance(struct connection *connection, uint64_t now)
{
    int written = flush(connection);

    if (written > 0 && connection->streaming) {
        put_due_pieces(connection, now);
        written = flush(connection);
    }
    bool unpaced = connection->streaming && connection->period_ns == 0;
    watch_output(connection, written == 0 || unpaced);
    if (written > 0 && connection->streaming && !unpaced)
        timers_add(connection, connection->due_ns);
    return written >= 0;
}

/* ---- answering -------------------------------------------------------------------------------------------------- */

static void put_answer(struct connection *connection, const char *status, const char *body, size_t count)
{
    char head[256];
    bool head_only = memcmp(connection->request.head, "HEAD ", 5) == 0;
    put(connection, head, (size_t)snprintf(head, sizeof head,
                                           "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                                           status, count));
    if (!head_only)
        put(connection, body, count);
}

static void put_error(struct connection *connection, const char *status, const char *message)
{
    char body[256];
    int count = snprintf(body, sizeof body, "{\"error\":{\"message\":\"%s\",\"type\":\"invalid_request_error\"}}", message);
    put_answer(connection, status, body, (size_t)count);
}

static void put_models(struct connection *connection)
{
    char body[OUT_MAX / 2];
    size_t used = (size_t)snprintf(body, sizeof body, "{\"object\":\"list\",\"data\":[");

    for (int i = 0; i < model_count && used < sizeof body - 256; i++)
        used += (size_t)snprintf(body + used, sizeof body - used,
                                 "%s{\"id\":\"%s\",\"object\":\"model\",\"created\":1700000000,\"owned_by\":\"mock\"}",
                                 i ? "," : "", models[i]);
    used += (size_t)snprintf(body + used, sizeof body - used, "]}");
    put_answer(connection, "200 OK", body, used);
}

/* A stream's first piece comes within one period. The golden ratio spreads any number of streams evenly over it. */
static void start_stream(struct connection *connection)
{
    static uint32_t phase;
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    const struct behaviour *behaviour = &connection->behaviour;
    uint64_t now = now_ns();
    int send_buffer = SEND_BUFFER;

    piece_of(&connection->piece, behaviour->model);
    connection->streaming = true;
    connection->pieces_left = behaviour->pieces;
    connection->period_ns = behaviour->per_second ? 1000000000u / behaviour->per_second : 0;
    if (connection->period_ns) {
        phase += 2654435769u; /* 2^32 / golden ratio */
        uint64_t offset = (connection->period_ns * phase) >> 32;
        connection->due_ns = now / connection->period_ns * connection->period_ns + offset;
        if (connection->due_ns < now)
            connection->due_ns += connection->period_ns;
    } else {
        setsockopt(connection->fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    }
    put(connection, head, sizeof head - 1);
}

static bool find_model(struct connection *connection)
{
    connection->body[connection->body_bytes] = 0;
    const char *at = strstr(connection->body, "\"model\"");
    if (!at)
        return false;
    at += strlen("\"model\"");
    at += strspn(at, " \t\r\n:");
    if (*at++ != '"')
        return false;
    return behaviour_of(&connection->behaviour, at, strcspn(at, "\""));
}

static void answer(struct connection *connection)
{
    static const char chat[] = "POST /v1/chat/completions ";
    static const char list[] = "GET /v1/models ";
    static const char health[] = "GET /health"; /* gateways ask before they send anything */
    char text[JSON_BYTES];

    connection->request.head[connection->request.head_bytes - 1] = 0;
    if (strncmp(connection->request.head, list, sizeof list - 1) == 0)
        put_models(connection);
    else if (strncmp(connection->request.head, health, sizeof health - 1) == 0)
        put_answer(connection, "200 OK", "{}", 2);
    else if (strncmp(connection->request.head, chat, sizeof chat - 1) != 0)
        put_error(connection, "404 Not Found", "no such door");
    else if (!find_model(connection))
        put_error(connection, "404 Not Found", "no such model");
    else if (connection->behaviour.streams)
        start_stream(connection);
    else
        put_answer(connection, "200 OK", text, whole_answer(text, connection->behaviour.model));
    if (!connection->streaming) {
        http_start(&connection->request, false);
        connection->body_bytes = 0;
    }
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static void keep_body(void *owner, const char *bytes, size_t count)
{
    struct connection *connection = owner;
    size_t room = BODY_MAX - connection->body_bytes;
    size_t kept = count < room ? count : room;

    memcpy(connection->body + connection->body_bytes, bytes, kept);
    connection->body_bytes += kept;
}

/* False: the connection is done with. A request before the last one is answered is not supported (nobody pipelines). */
static bool read_requests(struct connection *connection)
{
    static char bytes[65536];
    ssize_t count = recv(connection->fd, bytes, sizeof bytes, 0);

    if (count < 0)
        return errno == EAGAIN || errno == EINTR;
    if (count == 0 || connection->streaming || connection->out_to > 0)
        return false;
    size_t used = http_feed(&connection->request, bytes, (size_t)count, keep_body, connection);
    if (connection->request.state == HTTP_BROKEN || used < (size_t)count)
        return false;
    if (connection->request.state == HTTP_WHOLE) {
        answer(connection);
        return advance(connection, now_ns());
    }
    return true;
}

static void close_connection(struct connection *connection)
{
    timers_forget(connection);
    close(connection->fd);
    free(connection);
}

static void accept_connections(int listener)
{
    int fd, on = 1;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection)
            abort();
        connection->fd = fd;
        http_start(&connection->request, false);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
    if (errno == EMFILE || errno == ENFILE)
        perror("mock: accept");
}

static int listen_on(uint16_t port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0) {
        perror("mock: listen");
        exit(1);
    }
    return fd;
}

static void send_due_pieces(void)
{
    uint64_t now = now_ns();

    while (timers_next_ns() <= now) {
        struct connection *connection = timers_take();
        if (!advance(connection, now))
            close_connection(connection);
    }
}

static int wait_for_events(struct epoll_event *events)
{
    uint64_t next = timers_next_ns(), now = now_ns();
    if (next == UINT64_MAX)
        return epoll_wait(epoll_fd, events, EVENTS, -1);
    uint64_t left = next > now ? next - now : 0;
    struct timespec timeout = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
    return epoll_pwait2(epoll_fd, events, EVENTS, &timeout, NULL);
}

static void handle(struct connection *connection, uint32_t what)
{
    bool open = true;

    if (what & (EPOLLIN | EPOLLHUP | EPOLLERR))
        open = read_requests(connection);
    if (open && (what & EPOLLOUT) && connection->watches_output)
        open = advance(connection, now_ns());
    if (!open)
        close_connection(connection);
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENTS];

    if (argc < 3) {
        fprintf(stderr, "usage: mock PORT MODEL...\n");
        return 2;
    }
    models = argv + 2;
    model_count = argc - 2;
    prctl(PR_SET_TIMERSLACK, 1); /* ns; the default of 50 us would show in every delay */
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on((uint16_t)atoi(argv[1]));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = wait_for_events(events);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                handle(events[i].data.ptr, events[i].events);
            else
                accept_connections(listener);
        }
        send_due_pieces();
    }
}
