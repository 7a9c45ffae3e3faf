/* api.c: what the vectors do not reach: addresses, ranges, pointers, blocks, budget, failing callbacks. api FILE..., all accepted files. */
#include "cairn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *path;
static unsigned long checks;

static void check(int holds, int line)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "%s: api.c:%d\n", path, line);
        exit(1);
    }
}
#define CHECK(x) check((x) != 0, __LINE__)

typedef struct { const uint8_t *bytes; size_t length; unsigned long left; } source;    /* fails after `left` reads */

static int from_source(void *ctx, uint64_t offset, void *out, size_t n)
{
    source *s = ctx;
    CHECK(offset <= s->length && n <= s->length - offset);
    if (s->left-- == 0)
        return 1;
    memcpy(out, s->bytes + offset, n);
    return 0;
}

/* The address of every place leads to it. */
static void addresses(const cairn *c, const cairn_value *v, char *text, size_t n)
{
    cairn_cursor cursor;
    cairn_value key, child, found;
    cairn_fault f;
    uint32_t position, k;
    CHECK(cairn_at(c, text, n, &found, &f) == 0);
    while (found.tag == CAIRN_NAMED && found.after == v->after && found.inside != v->inside) {
        cairn_enter(&found, &cursor);
        CHECK(cairn_next(c, &cursor, NULL, &found));
    }
    CHECK(found.tag == v->tag && found.inside == v->inside && found.after == v->after);
    cairn_enter(v, &cursor);
    for (position = 0; cairn_next(c, &cursor, &key, &child); position++) {
        size_t m = n;
        cairn_cursor again;
        if (position > 200 && cursor.left > 2)
            continue;
        if (v->tag == CAIRN_NAMED) {
            addresses(c, &child, text, n);
            continue;
        }
        if (v->tag != CAIRN_DICT) {
            m += (size_t)sprintf(text + m, "/%lu", (unsigned long)position);
            cairn_enter(v, &again);
            CHECK(cairn_skip(c, &again, position) == position && cairn_next(c, &again, NULL, &found) && found.after == child.after);
        } else if (key.tag == CAIRN_INT) {
            int64_t x;
            memcpy(&x, &key.bits[0], 8);        /* the test may assume two's complement */
            m += (size_t)sprintf(text + m, "/~i%lld", (long long)x);
        } else {
            m += (size_t)sprintf(text + m, key.tag == CAIRN_BYTES ? "/~b" : "/");
            for (k = 0; k < key.length; k++)
                if (key.tag == CAIRN_BYTES)
                    m += (size_t)sprintf(text + m, "%02x", key.bytes[k]);
                else if (key.bytes[k] == '~' || key.bytes[k] == '/')
                    m += (size_t)sprintf(text + m, key.bytes[k] == '~' ? "~0" : "~1");
                else
                    text[m++] = (char)key.bytes[k];
        }
        addresses(c, &child, text, m);
    }
    CHECK(cairn_skip(c, &cursor, 1) == 0);
}

static void wrong_addresses(const cairn *c)
{
    static const char *const bad[] = {"a", "/a/~", "/~2", "/~i", "/~i01", "/~i-0", "/~i9223372036854775808", "/~i-9223372036854775809", "/~i1x",
                                      "/~b1", "/~bAB", "/~bxy", "/a~i1", "/\xFF", "/\xED\xA0\x80", "/\xC3", "/~i+1", "/~i-", "/~i99999999999999999999"};
    static const char *const none[] = {"/no such key/", "/~i-9223372036854775808/0", "/~i9223372036854775807/0", "/~b/x/y", "/~/"};
    cairn_value v;
    cairn_fault f;
    size_t k;
    for (k = 0; k < sizeof bad / sizeof *bad; k++)
        CHECK(cairn_at(c, bad[k], strlen(bad[k]), &v, &f) == CAIRN_E_ADDRESS);
    for (k = 0; k + 1 < sizeof none / sizeof *none; k++)
        CHECK(cairn_at(c, none[k], strlen(none[k]), &v, &f) == CAIRN_E_NOT_FOUND);
    CHECK(cairn_at(c, none[k], 3, &v, &f) == CAIRN_E_ADDRESS);
}

static void tensors(const cairn *c, const cairn *called)
{
    uint32_t k, n, length, m;
    uint64_t at, step, place;
    cairn_tensor t;
    cairn_fault f;
    const uint8_t *p, *q;
    for (k = 0; k < cairn_tensor_count(c); k++) {
        uint8_t *all, *other;
        CHECK(cairn_tensor_get(c, k, &t, &f) == 0 && cairn_pointer(c, &t, &p, &f) == 0);
        CHECK((p == NULL) == (t.extent == 0));
        CHECK(cairn_pointer(called, &t, &q, &f) == CAIRN_E_WRONG_TYPE && !q);
        all = malloc((size_t)t.extent + 1);
        other = malloc((size_t)t.extent + 1);
        CHECK(all && other);
        CHECK(cairn_read_range(c, &t, 0, all, (size_t)t.extent, &f) == 0 && (!p || memcmp(all, p, (size_t)t.extent) == 0));
        CHECK(cairn_read_range(c, &t, 1, all, (size_t)t.extent, &f) == CAIRN_E_OUT_OF_RANGE);
        CHECK(cairn_read(c, &t, other, (size_t)t.bytes + 1, &f) == CAIRN_E_OUT_OF_RANGE);
        for (step = t.extent < 20000 ? 1 + t.extent / 100 : 4095, at = 0; at < t.extent; at += step) {
            size_t size = (size_t)(t.extent - at < 777 ? t.extent - at : 777);
            CHECK(cairn_read_range(called, &t, at, other, size, &f) == 0 && memcmp(other, p + at, size) == 0);
        }
        CHECK(cairn_read(c, &t, all, (size_t)t.bytes, &f) == 0 && cairn_read(called, &t, other, (size_t)t.bytes, &f) == 0);
        CHECK(memcmp(all, other, (size_t)t.bytes) == 0 && cairn_check(called, &t, &f) == 0);
        if (t.has_strides) {            /* the formula of §7.7 */
            uint64_t index[64] = {0}, e;
            for (e = 0; e < t.elements; e++) {
                unsigned axis;
                for (place = 0, axis = 0; axis < t.rank; axis++)
                    place += index[axis] * cairn_axis(t.strides, axis);
                CHECK(memcmp(all + e * t.group_bytes, p + place * t.group_bytes, t.group_bytes) == 0);
                for (axis = t.rank; axis-- > 0 && ++index[axis] == cairn_axis(t.shape, axis);)
                    index[axis] = 0;
            }
        } else {
            CHECK(t.bytes == t.extent && (!p || memcmp(all, p, (size_t)t.bytes) == 0));
        }
        free(all);
        free(other);
    }
    CHECK(cairn_tensor_get(c, k, &t, &f) == CAIRN_E_OUT_OF_RANGE);
    for (place = 0, n = 0; n < cairn_block_count(c); n++) {
        CHECK(cairn_block(c, n, &at, &length, &p, &f) == 0 && p && length && at >= place);
        place = at + length;
        CHECK(cairn_block(called, n, &at, &m, &q, &f) == 0 && !q && m == length && at + m == place);
    }
    CHECK(cairn_block(c, n, &at, &length, &p, &f) == CAIRN_E_OUT_OF_RANGE);
}

int main(int argc, char **argv)
{
    int k;
    for (k = 1; k < argc; k++) {
        cairn c, called;
        cairn_fault f;
        cairn_value root;
        source s = {NULL, 0, ~0ul};
        uint32_t *work = NULL, *work2 = NULL;
        unsigned long reads;
        uint8_t *bytes;
        char *text = malloc(100000);
        FILE *in = fopen(path = argv[k], "rb");
        CHECK(in && text && fseek(in, 0, SEEK_END) == 0);
        s.length = (size_t)ftell(in);
        rewind(in);
        s.bytes = bytes = malloc(s.length);
        CHECK(bytes && fread(bytes, 1, s.length, in) == s.length);
        fclose(in);
        cairn_from_memory(&c, bytes, s.length);
        CHECK(cairn_begin(&c, &f) == 0 && (work = malloc(cairn_words(&c) * 4)) != NULL);
        CHECK(cairn_open(&c, work, cairn_words(&c) - 1, &f) == CAIRN_E_BUDGET);
        CHECK(cairn_open(&c, work, cairn_words(&c), &f) == 0 && cairn_verify(&c, &f) == 0);
        cairn_from_callback(&called, from_source, &s, s.length);
        CHECK(cairn_begin(&called, &f) == 0 && (work2 = malloc(cairn_words(&called) * 4)) != NULL);
        CHECK(cairn_words(&called) * 4 <= 2 * (size_t)cairn_index_length(&called) + 64);       /* §16 */
        for (reads = 0;; reads++) {                  /* every read fails once */
            cairn x;
            s.left = reads;
            cairn_from_callback(&x, from_source, &s, s.length);
            if (!cairn_begin(&x, &f) && !cairn_open(&x, work2, cairn_words(&x), &f) && !cairn_verify(&x, &f))
                break;
            CHECK(f.code == CAIRN_E_IO && f.cls == CAIRN_IO_ERROR);
            if (reads >= 40)
                reads = reads * 2;
        }
        s.left = ~0ul;
        CHECK(cairn_open(&called, work2, cairn_words(&called), &f) == 0);
        cairn_root(&c, &root);
        addresses(&c, &root, text, 0);
        wrong_addresses(&c);
        tensors(&c, &called);
        free(work);
        free(work2);
        free(bytes);
        free(text);
    }
    printf("api: %d files, %lu checks\n", argc - 1, checks);
    return 0;
}
