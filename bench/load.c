/* The load generator: one thread, epoll, keep-alive connections opened before the clock starts.
 *
 * usage: load port=N model=NAME connections=N [rate=PER_SECOND] [ramp=S] [settle=S] seconds=S
 *             [body=BYTES] [path=PATH] [prefix=TEXT] [loose=1]
 *
 * `body`: of each request, 1024 unless it is given. `path` and `prefix`: of the URL, and of the model's name, for gateways
 *   that have their own. `loose`: for gateways that rewrite answers (check.h).
 * rate > 0: open loop. Requests are due at fixed times whatever happened to the earlier ones; latency is counted from
 *   the time a request was due, also when it had to wait for a free connection (no coordinated omission).
 * rate = 0: each connection asks once, the first asks spread over `ramp`; unless the model is a paced stream, it asks
 *   again as soon as it is answered.
 * The measured window opens `ramp + settle` after the start and lasts `seconds`; then what is under way is brought to
 * its end. Every answer is checked, those outside the window too.
 *
 * stdout: {"event":"start"} and {"event":"end"} when the window opens and closes, then one line with the result. */
#define _GNU_SOURCE
#include "answers.h"
#include "check.h"
#include "http.h"
#include "samples.h"

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

#define REQUEST_BODY_BYTES 1024
#define REQUEST_BODY_MAX (1 << 20)
#define SEND_BUFFER (REQUEST_BODY_MAX / 2) /* a request is written at once, or the run fails */
#define DRAIN_S 30          /* an answer that has not ended this long after the window is a failure */
#define FAILURES_MAX 2000   /* then the run is given up: it measures nothing any more */
#define EVENTS 512
#define EXCERPT_BYTES 300

enum failure { BAD_STATUS, WRONG_BODY, CUT, UNFINISHED, NO_CONNECTION, FAILURE_KINDS };
static const char *const failure_names[] = {"bad status", "wrong body", "cut", "unfinished", "no connection"};

struct connection {
    int fd; /* -1: not connected */
    bool busy, begun; /* begun: its first piece has come */
    uint64_t from_ns; /* when the request was due */
    struct http_message response;
    struct check check;
};

static struct {
    const char *model, *path, *prefix;
    double port, connections, rate, ramp_s, settle_s, seconds, body_bytes, loose;
} options = {.path = "/v1/chat/completions", .prefix = "", .body_bytes = REQUEST_BODY_BYTES};

static struct behaviour behaviour;
static struct connection *connections;
static struct connection **idle; /* a ring: the one that rested longest is used next */
static size_t idle_from, idle_count;
static int epoll_fd, connection_count, busy_count, launched;
static char request[REQUEST_BODY_MAX + 1024];
static size_t request_bytes;
static uint64_t start_ns, window_from_ns, window_to_ns, received_ns;
static uint64_t scheduled; /* open loop: requests sent or waiting for a connection so far */

static struct {
    uint64_t answered, answered_in_window, pieces_in_window, reconnects;
    uint64_t failed[FAILURE_KINDS], failed_total;
    char first_failure[EXCERPT_BYTES + 64];
    struct samples latency, first, delay;
} result;

static bool in_window(uint64_t at_ns)
{
    return at_ns >= window_from_ns && at_ns < window_to_ns;
}

static uint64_t seconds_ns(double seconds)
{
    return (uint64_t)(seconds * 1e9);
}

/* ---- one connection --------------------------------------------------------------------------------------------- */

static bool open_connection(struct connection *connection)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    int on = 1, buffer = SEND_BUFFER, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (options.body_bytes > REQUEST_BODY_BYTES)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = connection};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    connection->fd = fd;
    return true;
}

static void close_connection(struct connection *connection)
{
    close(connection->fd);
    connection->fd = -1;
}

static void rest(struct connection *connection)
{
    connection->busy = false;
    busy_count--;
    idle[(idle_from + idle_count++) % (size_t)connection_count] = connection;
}

static void note_failure(enum failure failure, const char *text, size_t count)
{
    result.failed[failure]++;
    if (result.failed_total++ > 0)
        return;
    int used = snprintf(result.first_failure, sizeof result.first_failure, "%s: ", failure_names[failure]);
    for (size_t i = 0; i < count && i < EXCERPT_BYTES; i++) /* made fit for a JSON string */
        result.first_failure[used++] = text[i] < ' ' || text[i] > '~' ? ' ' : text[i] == '"' || text[i] == '\\' ? '\'' : text[i];
    result.first_failure[used] = 0;
}

/* The request under way has failed; its connection is not used again. */
static void fail(struct connection *connection, enum failure failure, const char *text, size_t count)
{
    note_failure(failure, text, count);
    close_connection(connection);
    rest(connection);
}

static void ask(struct connection *connection, uint64_t due_ns)
{
    connection->busy = true;
    connection->begun = false;
    connection->from_ns = due_ns;
    busy_count++;
    http_start(&connection->response, true);
    check_start(&connection->check);
    if (connection->fd < 0 && !open_connection(connection)) {
        note_failure(NO_CONNECTION, strerror(errno), strlen(strerror(errno)));
        rest(connection);
    } else if (send(connection->fd, request, request_bytes, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)request_bytes) {
        fail(connection, CUT, "the request could not be written", 32);
    }
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static void piece_seen(uint64_t stamp_ns)
{
    if (in_window(received_ns))
        result.pieces_in_window++;
    if (behaviour.per_second && in_window(stamp_ns))
        samples_add(&result.delay, received_ns - stamp_ns);
}

static void body_seen(void *owner, const char *bytes, size_t count)
{
    struct connection *connection = owner;
    if (http_status(&connection->response) != 200)
        return;
    check_feed(&connection->check, bytes, count);
    if (connection->begun || connection->check.pieces == 0)
        return;
    connection->begun = true;
    if (in_window(connection->from_ns))
        samples_add(&result.first, received_ns - connection->from_ns);
}

static void answered(struct connection *connection)
{
    result.answered++;
    if (in_window(received_ns))
        result.answered_in_window++;
    if (in_window(connection->from_ns))
        samples_add(&result.latency, received_ns - connection->from_ns);
    if (http_closes(&connection->response)) {
        close_connection(connection);
        result.reconnects++;
    }
    rest(connection);
}

static void judge(struct connection *connection, const char *bytes, size_t count, size_t used)
{
    const struct http_message *response = &connection->response;

    if (response->state == HTTP_BROKEN || connection->check.wrong)
        fail(connection, WRONG_BODY, bytes, count);
    else if (response->state != HTTP_WHOLE)
        return;
    else if (http_status(response) != 200)
        fail(connection, BAD_STATUS, bytes, count);
    else if (!check_is_whole(&connection->check) || used < count)
        fail(connection, WRONG_BODY, bytes, count);
    else
        answered(connection);
}

/* One read. True if it filled its buffer, so that there may be more. */
static bool read_answer(struct connection *connection)
{
    static char bytes[65536];
    ssize_t count = recv(connection->fd, bytes, sizeof bytes, MSG_DONTWAIT);

    received_ns = now_ns();
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return errno == EINTR;
    if (connection->busy && count > 0) {
        size_t used = http_feed(&connection->response, bytes, (size_t)count, body_seen, connection);
        judge(connection, bytes, (size_t)count, used);
    } else if (connection->busy) {
        fail(connection, CUT, "the connection was closed in an answer", 38);
    } else {
        if (count > 0)
            note_failure(WRONG_BODY, bytes, (size_t)count); /* bytes nobody asked for */
        close_connection(connection);
        result.reconnects++;
    }
    return count == (ssize_t)sizeof bytes;
}

/* An event comes once (EPOLLET), which saves a look at each socket: a short read has drained it, but not seen its end. */
static void read_all(struct connection *connection, uint32_t what)
{
    bool ended = what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);

    while (connection->fd >= 0 && (read_answer(connection) || ended))
        continue;
}

/* ---- the schedule ----------------------------------------------------------------------------------------------- */

static struct connection *take_idle(void)
{
    struct connection *connection = idle[idle_from];
    idle_from = (idle_from + 1) % (size_t)connection_count;
    idle_count--;
    return connection;
}

static uint64_t next_due_ns(void)
{
    if (options.rate > 0)
        return start_ns + seconds_ns((double)scheduled / options.rate);
    if (launched < connection_count)
        return start_ns + seconds_ns(options.ramp_s * launched / connection_count);
    return start_ns; /* whoever is idle asks again */
}

static bool more_to_ask(void)
{
    if (options.rate > 0)
        return next_due_ns() < window_to_ns;
    return launched < connection_count || (!behaviour.per_second && now_ns() < window_to_ns);
}

static void ask_what_is_due(void)
{
    while (idle_count > 0 && more_to_ask() && next_due_ns() <= now_ns() && result.failed_total < FAILURES_MAX) {
        uint64_t due_ns = options.rate > 0 ? next_due_ns() : now_ns();
        if (options.rate > 0)
            scheduled++;
        else if (launched < connection_count)
            launched++;
        ask(take_idle(), due_ns);
    }
}

/* The next time at which something happens by the clock alone. */
static uint64_t wake_ns(uint64_t now)
{
    uint64_t wake = now < window_from_ns ? window_from_ns : now < window_to_ns ? window_to_ns : now + seconds_ns(1);

    if (idle_count > 0 && more_to_ask() && next_due_ns() < wake)
        wake = next_due_ns();
    return wake > now ? wake : now;
}

static void announce(const char *event)
{
    printf("{\"event\":\"%s\"}\n", event);
    fflush(stdout);
}

static void run(void)
{
    static struct epoll_event events[EVENTS];
    bool opened = false, closed = false;

    for (;;) {
        uint64_t now = now_ns();
        if (!opened && now >= window_from_ns)
            opened = true, announce("start");
        if (!closed && now >= window_to_ns)
            closed = true, announce("end");
        ask_what_is_due();
        if ((closed && busy_count == 0 && !more_to_ask()) || result.failed_total >= FAILURES_MAX
            || now > window_to_ns + seconds_ns(DRAIN_S))
            return;
        uint64_t wait = wake_ns(now_ns()), current = now_ns();
        wait = wait > current ? wait - current : 0;
        struct timespec timeout = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
        int count = epoll_pwait2(epoll_fd, events, EVENTS, &timeout, NULL);
        for (int i = 0; i < count; i++)
            read_all(events[i].data.ptr, events[i].events);
    }
}

/* ---- setting up and reporting ----------------------------------------------------------------------------------- */

static void prepare_request(void)
{
    size_t body_bytes = (size_t)options.body_bytes;
    request_bytes = (size_t)snprintf(request, sizeof request,
                                     "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: masa-bench\r\n"
                                     "Accept: */*\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                                     options.path, (int)options.port, body_bytes);
    char *body = request + request_bytes;
    int used = snprintf(body, 512, "{\"model\":\"%s%s\",\"stream\":%s,\"messages\":[{\"role\":\"user\",\"content\":\"",
                        options.prefix, options.model, behaviour.streams ? "true" : "false");
    memset(body + used, 'y', body_bytes - (size_t)used);
    memcpy(body + body_bytes - 4, "\"}]}", 4);
    request_bytes += body_bytes;
}

static void connect_all(void)
{
    connections = calloc((size_t)connection_count, sizeof *connections);
    idle = calloc((size_t)connection_count, sizeof *idle);
    if (!connections || !idle)
        abort();
    for (int i = 0; i < connection_count; i++) {
        if (!open_connection(&connections[i])) {
            perror("load: connect");
            exit(1);
        }
        idle[idle_count++] = &connections[i];
    }
}

static void print_result(void)
{
    printf("{\"event\":\"result\",\"window_s\":%.6f,\"answered\":%lu,\"answered_in_window\":%lu,\"pieces_in_window\":%lu,"
           "\"reconnects\":%lu,\"failed\":%lu,\"failures\":{",
           options.seconds, result.answered, result.answered_in_window, result.pieces_in_window, result.reconnects,
           result.failed_total);
    for (int i = 0, printed = 0; i < FAILURE_KINDS; i++)
        if (result.failed[i])
            printf("%s\"%s\":%lu", printed++ ? "," : "", failure_names[i], result.failed[i]);
    printf("},\"first_failure\":\"%s\",\"latency_us\":", result.first_failure);
    samples_print(&result.latency);
    printf(",\"first_us\":");
    samples_print(&result.first);
    printf(",\"delay_us\":");
    samples_print(&result.delay);
    printf("}\n");
}

static bool read_options(int count, char **arguments)
{
    const struct {
        const char *name;
        double *value;
    } numbers[] = {{"rate=", &options.rate}, {"ramp=", &options.ramp_s}, {"settle=", &options.settle_s},
                   {"seconds=", &options.seconds}, {"port=", &options.port}, {"connections=", &options.connections},
                   {"body=", &options.body_bytes}, {"loose=", &options.loose}};
    const struct {
        const char *name;
        const char **value;
    } texts[] = {{"model=", &options.model}, {"path=", &options.path}, {"prefix=", &options.prefix}};

    for (int i = 0; i < count; i++) {
        for (size_t n = 0; n < sizeof texts / sizeof *texts; n++)
            if (strncmp(arguments[i], texts[n].name, strlen(texts[n].name)) == 0)
                *texts[n].value = arguments[i] + strlen(texts[n].name);
        for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++)
            if (strncmp(arguments[i], numbers[n].name, strlen(numbers[n].name)) == 0)
                *numbers[n].value = atof(arguments[i] + strlen(numbers[n].name));
    }
    connection_count = (int)options.connections;
    return options.port > 0 && options.model && connection_count > 0 && options.seconds > 0
           && strlen(options.path) < 256 && strlen(options.prefix) < 128 && options.body_bytes >= 512
           && options.body_bytes <= REQUEST_BODY_MAX
           && behaviour_of(&behaviour, options.model, strlen(options.model));
}

int main(int argc, char **argv)
{
    if (!read_options(argc - 1, argv + 1)) {
        fprintf(stderr, "usage: load port=N model=NAME connections=N [rate=PER_SECOND] [ramp=S] [settle=S] seconds=S"
                        " [body=BYTES] [path=PATH] [prefix=TEXT] [loose=1]\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1); /* ns; the default of 50 us would show in every latency */
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    check_expect(&behaviour, options.loose > 0, piece_seen);
    prepare_request();
    connect_all();
    start_ns = now_ns();
    window_from_ns = start_ns + seconds_ns(options.ramp_s + options.settle_s);
    window_to_ns = window_from_ns + seconds_ns(options.seconds);
    run();
    for (int i = 0; i < busy_count; i++)
        note_failure(UNFINISHED, "no end in time", 14);
    print_result();
    return 0;
}
