/* A server behind the forwarder that stores nothing:   echo_server SOCKET POOL
 *
 * It says OK to SET, and to GET it makes up the value that the load generator would have put under that key, as large
 * as the last one that was SET, so that the generator checks it as it checks everybody's: 8 bytes that come from the
 * key's number, 4 that say where in a pool of random bytes the rest was cut out, here always 0, and that rest (see
 * cli/bench/values.py). POOL is a file with the beginning of the pool. Before the first SET every key is missing.
 *
 * It prints "ready" when it listens, serves one connection, that of the forwarder, and ends with it. A read, the
 * answers to all that came, a write: no server does less for a request. */

#include "resp.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { HEAD_BYTES = 12 };

/* As in cli/bench/random_source.py. */
static uint64_t mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void append_value(struct bytes *out, const struct request *request, const struct bytes *pool, size_t size)
{
    unsigned char head[HEAD_BYTES] = {0};
    uint64_t number = 0;
    for (size_t i = 0; i < request->key_bytes; i++)
        number = number * 10 + (uint64_t)(request->key[i] - '0');
    number = mix64(number);
    for (int i = 0; i < 8; i++)
        head[i] = (unsigned char)(number >> (56 - 8 * i));
    out->end += (size_t)snprintf(room_for(out, 32), 32, "$%zu\r\n", size);
    append(out, head, size < HEAD_BYTES ? size : HEAD_BYTES);
    if (size > HEAD_BYTES)
        append(out, first(pool), size - HEAD_BYTES);
    append(out, "\r\n", 2);
}

/* The answers to all whole requests in `in`. `size` is that of the last value that was SET, -1 before. */
static void answer(struct bytes *in, struct bytes *out, const struct bytes *pool, long *size)
{
    struct request request = {0};
    enum verdict verdict = CUT_OFF;
    while (left(in) > 0 && (verdict = read_request(in, &request)) == WHOLE) {
        if (request.is_set) {
            if (request.value_bytes > left(pool) + HEAD_BYTES)
                fail("the pool is smaller than a value");
            *size = (long)request.value_bytes;
            append(out, "+OK\r\n", 5);
        } else if (*size >= 0) {
            append_value(out, &request, pool, (size_t)*size);
        } else {
            append(out, "$-1\r\n", 5);
        }
        consume(in, request.bytes);
    }
    if (verdict == WRONG)
        fail("neither GET nor SET");
}

static int accept_one(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd;
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        fail(path);
    }
    strcpy(address.sun_path, path);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1) < 0)
        fail(path);
    puts("ready");
    fflush(stdout);
    if ((fd = accept(listener, NULL, NULL)) < 0)
        fail("accept");
    close(listener);
    return fd;
}

int main(int count, char **words)
{
    struct bytes pool = {0}, in = {0}, out = {0};
    long size = -1;
    size_t before;
    int fd = count == 3 ? open(words[2], O_RDONLY) : -1;
    if (fd < 0)
        fail("echo_server SOCKET POOL");
    do {
        before = left(&pool);
        take(fd, &pool);
    } while (left(&pool) > before);
    close(fd);
    fd = accept_one(words[1]);
    while (take(fd, &in)) {
        answer(&in, &out, &pool, &size);
        while (left(&out) > 0) {
            ssize_t sent = write(fd, first(&out), left(&out));
            if (sent < 0)
                fail("write");
            consume(&out, (size_t)sent);
        }
    }
    return 0;
}
