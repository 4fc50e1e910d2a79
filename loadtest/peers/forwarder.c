/* The limit of any proxy on this machine: the least that a process between clients and servers can do.
 *
 *   forwarder SOCKET SOCKET SOCKET SOCKET      of the servers; prints "port N": where it listens, on 127.0.0.1
 *
 * It reads Redis requests (RESP 2, GET and SET), hashes each key, sends the request as it is to one of four servers
 * over a unix socket, and gives every client its replies in the order of its requests. One epoll loop; what a turn of
 * it has gathered goes out in one write for each socket.
 *
 * It is no proxy to be used: it has no timeouts, no bounds on what it holds, no topology, no errors of its own, and ends
 * when a server is lost. */

#define _GNU_SOURCE
#include "resp.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { SERVERS = 4, CLIENT = -1, LISTENER = -2, EVENTS = 256, BACKLOG = 1024 };

/* A socket in the loop. */
struct peer {
    int fd;                       /* -1: closed, and to be freed when no reply to it is on its way */
    int server;                   /* its number, or CLIENT or LISTENER */
    bool is_blocked;              /* the socket took less than all of `out`: the loop waits until it takes more */
    bool is_touched;              /* in the list of those that this turn has something for */
    struct bytes in, out;
    struct bytes waiting;         /* of a server: the clients, as pointers, that its next replies are for */
    struct bytes order;           /* of a client: the servers, a byte each, that its next replies come from */
    struct bytes parked[SERVERS]; /* of a client: replies before their turn; none from the server whose turn it is */
    struct peer *next_touched;
};

static struct peer servers[SERVERS], *touched;
static int poll_fd;

static void watch(struct peer *peer, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (epoll_ctl(poll_fd, operation, peer->fd, &event) < 0)
        fail("epoll_ctl");
}

static void touch(struct peer *peer)
{
    if (peer->is_touched)
        return;
    peer->is_touched = true;
    peer->next_touched = touched;
    touched = peer;
}

static uint64_t fnv1a(const char *data, size_t count)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ (unsigned char)data[i]) * 0x100000001b3u;
    return hash;
}

static void forward_requests(struct peer *client)
{
    struct request request = {0};
    enum verdict verdict = CUT_OFF;
    while (left(&client->in) > 0 && (verdict = read_request(&client->in, &request)) == WHOLE) {
        unsigned char number = fnv1a(request.key, request.key_bytes) >> 32 & (SERVERS - 1);
        struct peer *server = &servers[number];
        append(&server->out, first(&client->in), request.bytes);
        append(&server->waiting, &client, sizeof client);
        append(&client->order, &number, 1);
        consume(&client->in, request.bytes);
        touch(server);
    }
    if (verdict == WRONG) { /* a client that speaks otherwise is cut off */
        client->in.start = client->in.end = 0;
        shutdown(client->fd, SHUT_RDWR);
    }
}

static void move_reply(struct peer *client, struct bytes *from, size_t count)
{
    append(&client->out, first(from), count);
    consume(from, count);
    consume(&client->order, 1);
}

/* Each reply goes to its client: straight on if its turn has come, with those that it held up, else it is parked. */
static void return_replies(struct peer *server)
{
    struct peer *client;
    size_t count;
    while ((count = reply_bytes(&server->in)) > 0) {
        if (left(&server->waiting) == 0)
            fail("a reply to no request");
        memcpy(&client, first(&server->waiting), sizeof client);
        consume(&server->waiting, sizeof client);
        touch(client);
        if (*first(&client->order) != server->server) {
            append(&client->parked[server->server], first(&server->in), count);
            consume(&server->in, count);
            continue;
        }
        move_reply(client, &server->in, count);
        while (left(&client->order) > 0) {
            struct bytes *next = &client->parked[(int)*first(&client->order)];
            if (left(next) == 0)
                break;
            move_reply(client, next, reply_bytes(next));
        }
    }
}

static void accept_client(const struct peer *listener)
{
    int on = 1, fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK);
    struct peer *client = calloc(1, sizeof *client);
    if (fd < 0 || !client)
        fail("accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    client->fd = fd;
    client->server = CLIENT;
    watch(client, EPOLL_CTL_ADD, EPOLLIN);
}

static void serve(struct peer *peer)
{
    if (peer->server == LISTENER) {
        accept_client(peer);
    } else if (take(peer->fd, &peer->in)) {
        if (peer->server == CLIENT)
            forward_requests(peer);
        else
            return_replies(peer);
    } else if (peer->server == CLIENT) {
        close(peer->fd);
        peer->fd = -1;
        touch(peer);
    } else {
        fail("a server is gone");
    }
}

static void free_client(struct peer *client)
{
    free(client->in.data);
    free(client->out.data);
    free(client->order.data);
    for (int i = 0; i < SERVERS; i++)
        free(client->parked[i].data);
    free(client);
}

static void send_out(struct peer *peer)
{
    ssize_t sent = left(&peer->out) ? write(peer->fd, first(&peer->out), left(&peer->out)) : 0;
    if (sent > 0)
        consume(&peer->out, (size_t)sent);
    else if (sent < 0 && errno != EAGAIN) /* the next read says that it is gone */
        peer->out.start = peer->out.end = 0;
    bool is_blocked = left(&peer->out) > 0;
    if (is_blocked != peer->is_blocked)
        watch(peer, EPOLL_CTL_MOD, is_blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    peer->is_blocked = is_blocked;
}

static void end_turn(void)
{
    while (touched) {
        struct peer *peer = touched;
        touched = peer->next_touched;
        peer->is_touched = false;
        if (peer->fd >= 0)
            send_out(peer);
        else if (left(&peer->order) == 0)
            free_client(peer);
        else
            peer->out.start = peer->out.end = 0;
    }
}

static void connect_servers(char **paths)
{
    for (int i = 0; i < SERVERS; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        servers[i].server = i;
        servers[i].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        strncpy(address.sun_path, paths[i], sizeof address.sun_path - 1);
        if (connect(servers[i].fd, (struct sockaddr *)&address, sizeof address) < 0)
            fail(paths[i]);
        watch(&servers[i], EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void listen_on_loopback(struct peer *listener)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    listener->server = LISTENER;
    listener->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener->fd, (struct sockaddr *)&address, size) < 0 || listen(listener->fd, BACKLOG) < 0)
        fail("listen");
    getsockname(listener->fd, (struct sockaddr *)&address, &size);
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(int count, char **words)
{
    struct peer listener = {0};
    struct epoll_event events[EVENTS];
    if (count != SERVERS + 1)
        fail("forwarder SOCKET SOCKET SOCKET SOCKET");
    signal(SIGPIPE, SIG_IGN);
    if ((poll_fd = epoll_create1(0)) < 0)
        fail("epoll_create1");
    connect_servers(words + 1);
    listen_on_loopback(&listener);
    for (;;) {
        int ready = epoll_wait(poll_fd, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct peer *peer = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                touch(peer);
            if (events[i].events & ~(uint32_t)EPOLLOUT)
                serve(peer);
        }
        end_turn();
    }
}
