/* runner.c: judges files and prints what it read, one JSON object a file, as vectors/README.md asks.
 * CAIRN_RUNNER=callback reads through the callback instead of from memory. */
#include "cairn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- SHA-256 (FIPS 180-4) ---- */

static const uint32_t SHA_K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha_block(uint32_t *h, const uint8_t *p)
{
    uint32_t w[64], v[8], a, b;
    int k;
    for (k = 0; k < 16; k++, p += 4)
        w[k] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    for (; k < 64; k++) {
        a = w[k - 15], b = w[k - 2];
        w[k] = w[k - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[k - 7] + (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
    }
    memcpy(v, h, sizeof v);
    for (k = 0; k < 64; k++) {
        a = v[7] + (turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + SHA_K[k] + w[k];
        b = (turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += a;
        v[0] = a + b;
    }
    for (k = 0; k < 8; k++)
        h[k] += v[k];
}

static void print_sha256(const uint8_t *p, size_t n)
{
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t last[128] = {0};
    uint64_t bits = (uint64_t)n * 8;
    size_t left = n, end;
    int k;
    for (; left >= 64; left -= 64, p += 64)
        sha_block(h, p);
    if (left)
        memcpy(last, p, left);
    last[left] = 0x80;
    end = left < 56 ? 64 : 128;
    for (k = 0; k < 8; k++)
        last[end - 1 - (size_t)k] = (uint8_t)(bits >> (8 * k));
    sha_block(h, last);
    if (end == 128)
        sha_block(h, last + 64);
    for (k = 0; k < 8; k++)
        printf("%08lx", (unsigned long)h[k]);
}

/* ---- JSON, in ASCII ---- */

static void fatal(const char *what, const char *path)
{
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", path, what);
    exit(2);
}

static void *room(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (!p)
        fatal("no memory", "runner");
    return p;
}

static void print_hex(const uint8_t *p, uint32_t n)
{
    while (n--)
        printf("%02x", *p++);
}

/* p is UTF-8. */
static void print_text(const uint8_t *p, uint32_t n)
{
    putchar('"');
    while (n) {
        unsigned long x = *p;
        uint32_t more = x < 0x80 ? 0 : x < 0xE0 ? 1 : x < 0xF0 ? 2 : 3, k;
        x = more == 0 ? x : more == 1 ? x & 0x1F : more == 2 ? x & 0x0F : x & 0x07;
        for (k = 1; k <= more; k++)
            x = x << 6 | (p[k] & 0x3Ful);
        p += more + 1;
        n -= more + 1;
        if (x == '"' || x == '\\')
            printf("\\%c", (int)x);
        else if (x >= 0x20 && x < 0x7F)
            putchar((int)x);
        else if (x < 0x10000)
            printf("\\u%04lx", x);
        else
            printf("\\u%04lx\\u%04lx", 0xD7C0 + (x >> 10), 0xDC00 + (x & 0x3FF));
    }
    putchar('"');
}

/* Two's complement, little-endian. */
static void print_int(const uint8_t *p, uint32_t n)
{
    uint32_t words = (n + 3) / 4, k, digits = 0;
    uint32_t *x = room(words * sizeof *x), *d = room((words * 10 / 9 + 2) * sizeof *d);
    int negative = p[n - 1] >> 7;
    uint64_t carry = (uint64_t)negative;
    for (k = 0; k < words * 4; k++) {
        uint8_t byte = k < n ? p[k] : negative ? 0xFF : 0;
        if (k % 4 == 0)
            x[k / 4] = 0;
        x[k / 4] |= (uint32_t)byte << (8 * (k % 4));
    }
    for (k = 0; negative && k < words; k++) {
        carry += (uint32_t)~x[k];
        x[k] = (uint32_t)(carry & 0xFFFFFFFFu);
        carry >>= 32;
    }
    while (words) {
        uint64_t rest = 0;
        if (x[words - 1] == 0) {
            words--;
            continue;
        }
        for (k = words; k-- > 0;) {
            rest = rest << 32 | x[k];
            x[k] = (uint32_t)(rest / 1000000000u);
            rest %= 1000000000u;
        }
        d[digits++] = (uint32_t)rest;
    }
    printf(negative ? "\"-" : "\"");
    if (!digits)
        putchar('0');
    for (k = digits; k-- > 0;)
        printf(k + 1 == digits ? "%lu" : "%09lu", (unsigned long)d[k]);
    putchar('"');
    free(x);
    free(d);
}

static void print_u64(uint64_t x)
{
    char text[20];
    int k = 20;
    do {
        text[--k] = (char)('0' + x % 10);
        x /= 10;
    } while (x);
    printf("\"%.*s\"", 20 - k, text + k);
}

static void print_bits(uint64_t x) { printf("\"%08lx%08lx\"", (unsigned long)(x >> 32), (unsigned long)(x & 0xFFFFFFFFu)); }

static void print_value(const cairn *c, const cairn_value *v)       /* at most 128 deep */
{
    static const char *const names[] = {"null", "bool", "bool", "int", "int", "float", "complex", "str", "bytes", "list", "tuple", "dict",
                                        "named", "tensor"};
    cairn_cursor cursor;
    cairn_value key, child;
    uint8_t bytes[8];
    int k;
    printf("[\"%s\"", names[v->tag - 1]);
    switch (v->tag) {
    case CAIRN_NULL:
        break;
    case CAIRN_FALSE: case CAIRN_TRUE:
        printf(v->tag == CAIRN_TRUE ? ", true" : ", false");
        break;
    case CAIRN_INT:
        for (k = 0; k < 8; k++)
            bytes[k] = (uint8_t)(v->bits[0] >> (8 * k));
        printf(", ");
        print_int(bytes, 8);
        break;
    case CAIRN_BIG_INT:
        printf(", ");
        print_int(v->bytes, v->length);
        break;
    case CAIRN_FLOAT: case CAIRN_COMPLEX:
        for (k = 0; k < (v->tag == CAIRN_FLOAT ? 1 : 2); k++) {
            printf(", ");
            print_bits(v->bits[k]);
        }
        break;
    case CAIRN_STR:
        printf(", ");
        print_text(v->bytes, v->length);
        break;
    case CAIRN_BYTES:
        printf(", \"");
        print_hex(v->bytes, v->length);
        printf("\"");
        break;
    case CAIRN_NAMED:
        printf(", ");
        print_text(v->bytes, v->length);
        cairn_enter(v, &cursor);
        cairn_next(c, &cursor, NULL, &child);
        printf(", ");
        print_value(c, &child);
        break;
    case CAIRN_LIST: case CAIRN_TUPLE: case CAIRN_DICT:
        printf(", [");
        cairn_enter(v, &cursor);
        for (k = 0; cairn_next(c, &cursor, &key, &child); k = 1) {
            if (k)
                printf(", ");
            if (v->tag == CAIRN_DICT) {
                printf("[");
                print_value(c, &key);
                printf(", ");
            }
            print_value(c, &child);
            if (v->tag == CAIRN_DICT)
                printf("]");
        }
        printf("]");
        break;
    case CAIRN_TENSOR:
        printf(", %lu", (unsigned long)v->count);
        break;
    }
    printf("]");
}

static void print_outcome(const char *name, int bad, const cairn_fault *f)
{
    if (bad)
        printf("\"%s\": {\"class\": \"%s\", \"code\": \"%s\"}", name, cairn_class_name(f->cls), cairn_code_name(f->code));
    else
        printf("\"%s\": \"accept\"", name);
}

static void print_axes(const char *name, const uint8_t *list, unsigned rank)
{
    unsigned k;
    printf("\"%s\": [", name);
    for (k = 0; k < rank; k++) {
        if (k)
            printf(", ");
        print_u64(cairn_axis(list, k));
    }
    printf("], ");
}

static void print_tensor(const cairn *c, uint32_t number, const char *path)
{
    cairn_tensor t;
    cairn_fault f;
    int bad;
    if (cairn_tensor_get(c, number, &t, &f))
        fatal("tensor missing", path);
    printf("{\"dtype\": ");
    print_text(t.dtype, t.dtype_length);
    printf(", ");
    print_axes("shape", t.shape, t.rank);
    if (t.has_strides)
        print_axes("strides", t.strides, t.rank);
    else
        printf("\"strides\": null, ");
    printf("\"buffer\": ");
    if (t.buffer == CAIRN_NO_BUFFER)
        printf("null");
    else
        print_u64(t.buffer);
    printf(", \"offset\": ");
    print_u64(t.offset);
    printf(", ");
    bad = cairn_check(c, &t, &f);
    print_outcome("read", bad, &f);
    if (!bad) {
        uint8_t *out;
        if (t.bytes > SIZE_MAX)
            fatal("tensor too large for this machine", path);
        out = room((size_t)t.bytes);
        if (cairn_read(c, &t, out, (size_t)t.bytes, &f))
            fatal("checked bytes are refused", path);
        printf(", \"sha256\": \"");
        print_sha256(out, (size_t)t.bytes);
        printf("\"");
        free(out);
    }
    printf("}");
}

/* ---- files ---- */

typedef struct {
    const uint8_t *bytes;
    size_t length;
} file;

static int from_file(void *ctx, uint64_t offset, void *out, size_t n)
{
    const file *x = ctx;
    if (offset > x->length || n > x->length - offset)
        return 1;
    memcpy(out, x->bytes + offset, n);
    return 0;
}

static uint8_t *load(const char *path, size_t *length)
{
    FILE *in = fopen(path, "rb");
    long n;
    uint8_t *p;
    if (!in || fseek(in, 0, SEEK_END) || (n = ftell(in)) < 0 || fseek(in, 0, SEEK_SET))
        fatal("cannot be read", path);
    p = room((size_t)n);
    if (fread(p, 1, (size_t)n, in) != (size_t)n)
        fatal("cannot be read", path);
    fclose(in);
    *length = (size_t)n;
    return p;
}

/* 0, 1 or 3 */
static int judge(const char *path)
{
    cairn c;
    cairn_fault f;
    cairn_value v;
    file whole;
    uint8_t *bytes = load(path, &whole.length);
    const char *how = getenv("CAIRN_RUNNER");
    uint32_t *work = NULL, k;
    int bad;

    whole.bytes = bytes;
    if (how && strcmp(how, "callback") == 0)
        cairn_from_callback(&c, from_file, &whole, whole.length);
    else
        cairn_from_memory(&c, bytes, whole.length);
    bad = cairn_begin(&c, &f);
    if (!bad) {
        work = room(cairn_words(&c) * sizeof *work);
        bad = cairn_open(&c, work, cairn_words(&c), &f);
    }
    printf("{");
    print_outcome("open", bad, &f);
    if (!bad) {
        cairn_metadata(&c, &v);
        printf(", \"metadata\": ");
        print_value(&c, &v);
        cairn_root(&c, &v);
        printf(", \"root\": ");
        print_value(&c, &v);
        printf(", \"tensors\": [");
        for (k = 0; k < cairn_tensor_count(&c); k++) {
            if (k)
                printf(", ");
            print_tensor(&c, k, path);
        }
        printf("], ");
        bad = cairn_verify(&c, &f);
        print_outcome("verify", bad, &f);
    }
    printf("}\n");
    free(work);
    free(bytes);
    return !bad ? 0 : f.cls == CAIRN_UNSUPPORTED ? 3 : 1;
}

int main(int argc, char **argv)
{
    int k, result = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: runner FILE...\n");
        return 2;
    }
    for (k = 1; k < argc; k++)
        result = judge(argv[k]);
    if (fflush(stdout) || ferror(stdout))
        return 2;
    return argc == 2 ? result : 0;
}
