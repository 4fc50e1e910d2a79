/* What forwarder.c and echo_server.c share: queues of bytes, and where requests and replies of RESP 2 end. */

#ifndef RESP_H
#define RESP_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 16 };
enum verdict { WRONG = -1, CUT_OFF, WHOLE };

/* A queue: the content is data[start..end). It grows without bounds. */
struct bytes {
    char *data;
    size_t start, end, room;
};

struct request {
    const char *key;
    size_t key_bytes, value_bytes;
    size_t bytes; /* of all of it */
    bool is_set;
};

_Noreturn static inline void fail(const char *what)
{
    fprintf(stderr, "%s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static inline size_t left(const struct bytes *b) { return b->end - b->start; }

static inline const char *first(const struct bytes *b) { return b->data + b->start; }

static inline void consume(struct bytes *b, size_t count)
{
    b->start += count;
    if (b->start == b->end)
        b->start = b->end = 0;
}

/* Where `count` bytes can be written, to be counted into `end` then. */
static inline char *room_for(struct bytes *b, size_t count)
{
    if (b->room - b->end < count && b->start > 0) {
        memmove(b->data, first(b), left(b));
        b->end -= b->start;
        b->start = 0;
    }
    if (b->room - b->end < count) {
        b->room = 2 * (b->end + count);
        if (!(b->data = realloc(b->data, b->room)))
            fail("memory");
    }
    return b->data + b->end;
}

static inline void append(struct bytes *b, const void *from, size_t count)
{
    memcpy(room_for(b, count), from, count);
    b->end += count;
}

/* Read once; false if the other end is gone. */
static inline bool take(int fd, struct bytes *b)
{
    ssize_t got = read(fd, room_for(b, READ_BYTES), READ_BYTES);
    if (got > 0)
        b->end += (size_t)got;
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

/* The line at *at: a kind, a number (any negative one is -1), CR LF. Then *at is behind it. */
static inline enum verdict read_line(const char **at, const char *end, char kind, long *number)
{
    const char *p = *at + 1, *stop = *at < end ? memchr(*at, '\n', (size_t)(end - *at)) : NULL;
    if (*at < end && **at != kind)
        return WRONG;
    if (!stop)
        return CUT_OFF;
    *at = stop + 1;
    *number = p < stop && *p == '-' ? -1 : 0;
    if (*number == 0)
        while (p < stop && *p >= '0' && *p <= '9' && *number < 1 << 30)
            *number = *number * 10 + *p++ - '0';
    return stop[-1] == '\r' && (*number < 0 || p == stop - 1) ? WHOLE : WRONG;
}

/* "*2 $3 GET $n KEY" or "*3 $3 SET $n KEY $m VALUE", CR LF behind each size and each word. */
static inline enum verdict read_request(const struct bytes *from, struct request *request)
{
    const char *at = first(from), *end = at + left(from), *name = at;
    long words, size;
    enum verdict verdict = read_line(&at, end, '*', &words);
    if (verdict != WHOLE)
        return verdict;
    if (words != 2 && words != 3)
        return WRONG;
    for (long word = 0; word < words; word++) {
        if ((verdict = read_line(&at, end, '$', &size)) != WHOLE)
            return verdict;
        if (size < 0 || (word == 0 && size != 3))
            return WRONG;
        if (end - at < size + 2)
            return CUT_OFF;
        if (word == 0) {
            name = at;
        } else if (word == 1) {
            request->key = at;
            request->key_bytes = (size_t)size;
        } else {
            request->value_bytes = (size_t)size;
        }
        at += size + 2;
    }
    request->is_set = words == 3;
    request->bytes = (size_t)(at - first(from));
    return memcmp(name, request->is_set ? "SET" : "GET", 3) == 0 ? WHOLE : WRONG;
}

/* The size of the reply at the beginning, a line or a string; 0 if it is cut off. */
static inline size_t reply_bytes(const struct bytes *from)
{
    const char *at = first(from), *end = at + left(from), *stop;
    long size;
    if (at == end)
        return 0;
    if (*at != '$')
        return (stop = memchr(at, '\n', left(from))) ? (size_t)(stop + 1 - at) : 0;
    if (read_line(&at, end, '$', &size) != WHOLE)
        return 0;
    if (size >= 0)
        at += size + 2;
    return at <= end ? (size_t)(at - first(from)) : 0;
}

#endif
