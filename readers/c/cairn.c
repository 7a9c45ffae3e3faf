/* cairn.c: see cairn.h. Steps and sections are those of SPEC.md. */
#include "cairn.h"

#include <string.h>

#define MAX63 UINT64_C(0x7FFFFFFFFFFFFFFF)
#define INDEX_MOST 536870904u
#define CHUNK 4096u             /* bytes read through a callback at once; the least block size */
#define MARK 0x80000000u        /* places in the index are below 2^29 */

/* ---- reports ---- */

static const struct { const char *text, *section; enum cairn_class cls; } CODES[] = {
    {"ok", "", (enum cairn_class)0},
#define X(name, text, cls, section) {text, section, CAIRN_##cls},
    CAIRN_CODES(X)
#undef X
};

const char *cairn_code_name(enum cairn_code code) { return CODES[code].text; }
enum cairn_class cairn_class_of(enum cairn_code code) { return CODES[code].cls; }
const char *cairn_section(enum cairn_code code) { return CODES[code].section; }

const char *cairn_class_name(enum cairn_class cls)
{
    static const char *const names[] = {"", "truncated", "malformed", "corrupt", "invalid", "unsupported", "limit", "io", "usage"};
    return names[cls];
}

static int fail(cairn_fault *f, enum cairn_code code, uint64_t offset)
{
    f->code = code;
    f->cls = CODES[code].cls;
    f->offset = offset;
    return (int)code;
}

/* ---- numbers ---- */

static uint32_t u16_at(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32_at(const uint8_t *p) { return u16_at(p) | u16_at(p + 2) << 16; }
static uint64_t u64_at(const uint8_t *p) { return u32_at(p) | (uint64_t)u32_at(p + 4) << 32; }
static uint64_t align_up(uint64_t x, uint64_t a) { return (x + (a - 1)) & ~(a - 1); }     /* x at most 2^63 + 2^32 wherever this is used */
static uint64_t less(uint64_t a, uint64_t b) { return a < b ? a : b; }

uint64_t cairn_axis(const uint8_t *list, unsigned axis) { return u64_at(list + (size_t)axis * 8); }

/* ---- CRC-32 (§11.1), eight bytes a step ---- */

static void crc_tables(cairn *c)
{
    uint32_t n, x;
    int k;
    for (n = 0; n < 256; n++) {
        x = n;
        for (k = 0; k < 8; k++)
            x = (x >> 1) ^ (x & 1 ? 0xEDB88320u : 0);
        c->crc[0][n] = x;
    }
    for (k = 1; k < 8; k++)
        for (n = 0; n < 256; n++)
            c->crc[k][n] = c->crc[0][c->crc[k - 1][n] & 0xFF] ^ (c->crc[k - 1][n] >> 8);
}

static uint32_t crc_more(const cairn *c, uint32_t crc, const uint8_t *p, size_t n)        /* crc: 0 at the beginning */
{
    const uint32_t (*t)[256] = c->crc;
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t a = crc ^ u32_at(p), b = u32_at(p + 4);
        crc = t[7][a & 0xFF] ^ t[6][a >> 8 & 0xFF] ^ t[5][a >> 16 & 0xFF] ^ t[4][a >> 24]
            ^ t[3][b & 0xFF] ^ t[2][b >> 8 & 0xFF] ^ t[1][b >> 16 & 0xFF] ^ t[0][b >> 24];
    }
    while (n--)
        crc = t[0][(crc ^ *p++) & 0xFF] ^ (crc >> 8);
    return ~crc;
}

/* ---- the file ---- */

void cairn_from_memory(cairn *c, const void *bytes, size_t length)
{
    static const uint8_t none = 0;
    memset(c, 0, sizeof *c);
    c->map = length ? (const uint8_t *)bytes : &none;
    c->size = length;
    crc_tables(c);
}

void cairn_from_callback(cairn *c, cairn_read_fn read, void *ctx, uint64_t length)
{
    memset(c, 0, sizeof *c);
    c->read = read;
    c->ctx = ctx;
    c->size = length;
    crc_tables(c);
}

void cairn_understand(cairn *c, const uint32_t *tags, size_t count)
{
    c->known = tags;
    c->n_known = count;
}

/* Bytes at..at+n of the file: a pointer into the memory, or the bytes read into `room`, which must hold n. */
static int file_at(const cairn *c, uint64_t at, size_t n, uint8_t *room, const uint8_t **p, cairn_fault *f)
{
    if (c->map) {
        *p = c->map + at;
        return 0;
    }
    *p = room;
    if (n && c->read(c->ctx, at, room, n))
        return fail(f, CAIRN_E_IO, at);
    return 0;
}

/* How much to take at once of n bytes. */
static size_t piece(const cairn *c, uint64_t n) { return c->map ? (size_t)n : (size_t)less(n, CHUNK); }

/* ---- header and trailer (§6) ---- */

static const uint8_t MAGIC[8] = {0x89, 'C', 'A', 'I', 'R', 'N', 0x0D, 0x0A};

/* First offset in from..to that is not zero; `to` if there is none. */
static size_t not_zero(const uint8_t *b, size_t from, size_t to)
{
    while (from < to && b[from] == 0)
        from++;
    return from;
}

/* Magic and steps 2 to 7 of §12.2 for 64 bytes that stand at `at`. */
static int check_head(const cairn *c, const uint8_t *b, uint64_t at, int trailer, enum cairn_code magic, enum cairn_code crc, cairn_fault *f)
{
    size_t bad;
    if (memcmp(b, MAGIC, 8) != 0)
        return fail(f, magic, at);
    if (crc_more(c, 0, b, 60) != u32_at(b + 60))
        return fail(f, crc, at);
    if (u16_at(b + 8) != 1)
        return fail(f, CAIRN_E_VERSION, at + 8);
    if (u16_at(b + 10) > 3)
        return fail(f, CAIRN_E_FLAGS, at + 10);
    if ((bad = not_zero(b, 13, 16)) < 16 || (bad = not_zero(b, 44, 60)) < 60)
        return fail(f, CAIRN_E_RESERVED, at + bad);
    if ((b[10] >> 1) != trailer)
        return fail(f, CAIRN_E_ROLE, at + 10);
    if (b[12] < 12 || b[12] > 22)
        return fail(f, CAIRN_E_BLOCK_SIZE, at + 12);
    return 0;
}

int cairn_begin(cairn *c, cairn_fault *f)
{
    uint8_t room[64], room2[64];
    const uint8_t *h;
    uint64_t at = 0, length, index, index_length;
    size_t n = (size_t)less(c->size, 64), bad;

    if (file_at(c, 0, n, room, &h, f))                                                     /* step 1 */
        return (int)f->code;
    for (bad = 0; bad < n && bad < 8; bad++)
        if (h[bad] != MAGIC[bad])
            return fail(f, CAIRN_E_MAGIC, bad);
    if (n < 64)
        return fail(f, CAIRN_E_TOO_SHORT, c->size);
    if (check_head(c, h, 0, 0, CAIRN_E_MAGIC, CAIRN_E_HEADER_CRC, f))                      /* 2 to 7 */
        return (int)f->code;
    c->streamed = h[10] & 1;
    c->log2 = h[12];
    if (c->streamed) {                                                                     /* 8 */
        if ((bad = not_zero(h, 16, 44)) < 44)
            return fail(f, CAIRN_E_STREAMED_FIELDS, bad);
        if (c->size < 128)
            return fail(f, CAIRN_E_TRAILER_MISSING, c->size);
        at = c->size - 64;
        if (file_at(c, at, 64, room2, &h, f) || check_head(c, h, at, 1, CAIRN_E_TRAILER_MISSING, CAIRN_E_TRAILER_CRC, f))
            return (int)f->code;
        if ((h[10] & 1) != 1)
            return fail(f, CAIRN_E_TRAILER_MISMATCH, at + 10);
        if (h[12] != c->log2)
            return fail(f, CAIRN_E_TRAILER_MISMATCH, at + 12);
    }
    length = u64_at(h + 16);
    index = u64_at(h + 24);
    index_length = u64_at(h + 32);
    if (length < 192 || length > MAX63)
        return fail(f, CAIRN_E_FILE_LENGTH, at + 16);
    if (c->size < length)
        return fail(f, CAIRN_E_FILE_TRUNCATED, c->size);
    if (c->size > length)
        return fail(f, CAIRN_E_TRAILING_BYTES, length);
    if (index_length > INDEX_MOST)
        return fail(f, CAIRN_E_INDEX_LIMIT, at + 32);
    if (index < 64 || (!c->streamed && index != 64))
        return fail(f, CAIRN_E_INDEX_OFFSET, at + 24);
    if (index_length < 26 || index > length || align_up(index + index_length, 64) > length - 64)
        return fail(f, CAIRN_E_INDEX_LENGTH, at + 32);
    c->index_at = index;
    c->index_length = (uint32_t)index_length;
    c->index_crc = u32_at(h + 40);
    return 0;
}

uint32_t cairn_index_length(const cairn *c) { return c->index_length; }

/* Why 3/16: words / bytes of index are 1/8 for an extension, 2/11 for a dtype (one to look for duplicates), 3/16 for a buffer, 2/18 for a
 * tensor and at most 1/6 for the key of a dict that is being read; 3/16 is the largest. */
static size_t table_words(const cairn *c) { return ((size_t)c->index_length / 16 + 1) * 3; }

size_t cairn_words(const cairn *c) { return table_words(c) + (c->map ? 0 : ((size_t)c->index_length + 3) / 4); }

/* ---- sorting: heapsort of words of the work area, no recursion, no worst case ----
 *
 * Runs of bytes are compared by length first. The largest are then drawn from the heap first, and while one of length L is drawn nothing longer
 * is compared, so all comparisons together look at O(log n) times the bytes of the runs, whatever the bytes are. */

enum order { BY_NAME, BY_KEY, BY_RECORD, BY_VIEW };

static uint32_t record_length(const uint8_t *r) { return 18 + (uint32_t)r[16] * (r[17] ? 16 : 8); }

/* Below, equal, above: -1, 0, 1. Equal: dtypes with one name, keys with one tag and bytes, tensor records with one content. */
static int compare(const cairn *c, enum order by, uint32_t x, uint32_t y)
{
    const uint8_t *a, *b;
    uint32_t n, m;
    int d;
    if (by == BY_VIEW) {
        uint64_t s, t;
        a = c->index + (c->tensors[x] & ~MARK);
        b = c->index + (c->tensors[y] & ~MARK);
        n = u32_at(a + 4);
        m = u32_at(b + 4);
        if (n != m)
            return n < m ? -1 : 1;
        s = u64_at(a + 8);
        t = u64_at(b + 8);
        return s < t ? -1 : s > t;
    }
    a = c->index + x;
    b = c->index + y;
    if (by == BY_NAME) {
        n = a[9], m = b[9];
        a += 10, b += 10;
    } else if (by == BY_KEY) {
        uint8_t tag = *a, tag_b = *b;
        n = tag == CAIRN_INT ? 8 : u32_at(a + 1);
        m = tag_b == CAIRN_INT ? 8 : u32_at(b + 1);
        if (n == m && tag != tag_b)
            return tag < tag_b ? -1 : 1;
        a += tag == CAIRN_INT ? 1 : 5;
        b += tag_b == CAIRN_INT ? 1 : 5;
    } else {
        n = record_length(a), m = record_length(b);
    }
    if (n != m)
        return n < m ? -1 : 1;
    d = memcmp(a, b, n);
    return d < 0 ? -1 : d > 0;
}

static int below(const cairn *c, enum order by, uint32_t x, uint32_t y)
{
    int d = compare(c, by, x, y);
    return d < 0 || (d == 0 && x < y);
}

static void sink(const cairn *c, enum order by, uint32_t *v, size_t at, size_t n)
{
    uint32_t x = v[at];
    size_t child;
    while ((child = 2 * at + 1) < n) {
        if (child + 1 < n && below(c, by, v[child], v[child + 1]))
            child++;
        if (!below(c, by, x, v[child]))
            break;
        v[at] = v[child];
        at = child;
    }
    v[at] = x;
}

static void sort(const cairn *c, enum order by, uint32_t *v, size_t n)
{
    size_t k;
    for (k = 1; k < n && below(c, by, v[k - 1], v[k]); k++)
        ;
    if (k >= n)
        return;                 /* as tables often are */
    for (k = n / 2; k-- > 0;)
        sink(c, by, v, k, n);
    for (k = n; k-- > 1;) {
        uint32_t x = v[0];
        v[0] = v[k];
        v[k] = x;
        sink(c, by, v, 0, k);
    }
}

/* Sorts v; the least place whose content stands at a lesser place too, or MARK. */
static uint32_t first_duplicate(const cairn *c, enum order by, uint32_t *v, size_t n)
{
    uint32_t least = MARK;
    size_t k;
    sort(c, by, v, n);
    for (k = 1; k < n; k++)
        if (v[k] < least && compare(c, by, v[k - 1], v[k]) == 0)
            least = v[k];
    return least;
}

/* ---- reading the index ---- */

typedef struct {
    uint32_t at, end;
    enum cairn_code code;       /* of a field that does not fit: index-short, or value-length in a container */
} reader;

static int at_index(const cairn *c, cairn_fault *f, enum cairn_code code, uint32_t place) { return fail(f, code, c->index_at + place); }

/* Steps over n bytes. */
static int take(const cairn *c, reader *r, uint64_t n, cairn_fault *f)
{
    if (n > r->end - r->at)
        return at_index(c, f, r->code, r->at);
    r->at += (uint32_t)n;
    return 0;
}

static int take_u32(const cairn *c, reader *r, uint32_t *x, cairn_fault *f)
{
    if (take(c, r, 4, f))
        return 1;
    *x = u32_at(c->index + r->at - 4);
    return 0;
}

/* A count of records of at least `least` bytes (§7.1). */
static int take_count(const cairn *c, reader *r, uint32_t *x, uint32_t least, cairn_fault *f)
{
    if (take_u32(c, r, x, f))
        return 1;
    if ((uint64_t)*x * least > r->end - r->at)
        return at_index(c, f, CAIRN_E_INDEX_SHORT, r->at - 4);
    return 0;
}

static uint32_t *allot(cairn *c, size_t n, cairn_fault *f)
{
    uint32_t *p = c->work + c->used;
    if (n > c->words - c->used) {       /* does not happen: see table_words */
        fail(f, CAIRN_E_BUDGET, c->index_at);
        return NULL;
    }
    c->used += n;
    return p;
}

/* Registered or private form (§7.3). */
static int name_form(const uint8_t *p, uint32_t n)
{
    uint32_t k;
    int registered = 1, private_form = 1, dot = 0;
    for (k = 0; k < n; k++) {
        if (!((p[k] >= 'a' && p[k] <= 'z') || (p[k] >= '0' && p[k] <= '9') || p[k] == '_'))
            registered = 0;
        if (p[k] < 0x21 || p[k] > 0x7E)
            private_form = 0;
        if (p[k] == '.')
            dot = 1;
    }
    return n >= 1 && n <= 255 && (registered || (private_form && dot));
}

/* RFC 3629; the place of the first bad sequence, or n. */
static size_t bad_utf8(const uint8_t *p, size_t n)
{
    size_t k = 0;
    while (k < n) {
        uint8_t a = p[k];
        size_t more = 0, j;
        uint8_t low = 0x80, high = 0xBF;
        if (a < 0x80) {
            k++;
            continue;
        }
        if (a >= 0xC2 && a <= 0xDF)
            more = 1;
        else if (a >= 0xE0 && a <= 0xEF)
            more = 2;
        else if (a >= 0xF0 && a <= 0xF4)
            more = 3;
        if (a == 0xE0)
            low = 0xA0;
        else if (a == 0xED)
            high = 0x9F;
        else if (a == 0xF0)
            low = 0x90;
        else if (a == 0xF4)
            high = 0x8F;
        if (more == 0 || more > n - k - 1 || p[k + 1] < low || p[k + 1] > high)
            return k;
        for (j = 2; j <= more; j++)
            if (p[k + j] < 0x80 || p[k + j] > 0xBF)
                return k;
        k += more + 1;
    }
    return n;
}

/* ---- step 10: extensions (§7.2) ---- */

static int extension_known(const cairn *c, uint32_t tag)
{
    size_t k;
    for (k = 0; k < c->n_known; k++)
        if (c->known[k] == tag)
            return 1;
    return 0;
}

static int read_extensions(cairn *c, reader *r, cairn_fault *f)
{
    uint32_t k, n, unknown = 0, before = 0;
    if (take_count(c, r, &c->n_extensions, 8, f) || !(c->extensions = allot(c, c->n_extensions, f)))
        return 1;
    for (k = 0; k < c->n_extensions; k++) {
        uint32_t at = r->at, pad;
        size_t bad;
        if (take_u32(c, r, &c->extensions[k], f) || take_u32(c, r, &n, f) || take(c, r, n, f))
            return 1;
        pad = (8 - n % 8) % 8;
        if (take(c, r, pad, f))
            return 1;
        if ((bad = not_zero(c->index, r->at - pad, r->at)) < r->at)
            return at_index(c, f, CAIRN_E_EXTENSION_PADDING, (uint32_t)bad);
        if (c->extensions[k] <= before)
            return at_index(c, f, CAIRN_E_EXTENSION_ORDER, at);
        before = c->extensions[k];
        if (before & 0x80000000u && !unknown && !extension_known(c, before))
            unknown = at;
    }
    if (unknown)
        return at_index(c, f, CAIRN_E_EXTENSION_UNKNOWN, unknown);
    return 0;
}

static int has_extension(const cairn *c, uint32_t tag)
{
    uint32_t low = 0, high = c->n_extensions;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (c->extensions[mid] < tag)
            low = mid + 1;
        else
            high = mid;
    }
    return low < c->n_extensions && c->extensions[low] == tag;
}

/* ---- step 11: dtypes (§7.3, §10) ---- */

static const struct { char name[16]; uint8_t cls; uint16_t elements, bytes; } REGISTRY[] = {
    {"bool", 0, 1, 1}, {"i8", 0, 1, 1}, {"i16", 0, 1, 2}, {"i32", 0, 1, 4}, {"i64", 0, 1, 8}, {"u8", 0, 1, 1}, {"u16", 0, 1, 2},
    {"u32", 0, 1, 4}, {"u64", 0, 1, 8}, {"f16", 0, 1, 2}, {"bf16", 0, 1, 2}, {"f32", 0, 1, 4}, {"f64", 0, 1, 8}, {"c32", 0, 1, 4},
    {"c64", 0, 1, 8}, {"c128", 0, 1, 16}, {"f8_e3m4", 0, 1, 1}, {"f8_e4m3", 0, 1, 1}, {"f8_e4m3b11fnuz", 0, 1, 1}, {"f8_e4m3fn", 0, 1, 1},
    {"f8_e4m3fnuz", 0, 1, 1}, {"f8_e5m2", 0, 1, 1}, {"f8_e5m2fnuz", 0, 1, 1}, {"f8_e8m0fnu", 0, 1, 1}, {"f6_e2m3fn", 1, 4, 3},
    {"f6_e3m2fn", 1, 4, 3}, {"f4_e2m1fn", 1, 2, 1}, {"i4", 1, 2, 1}, {"u4", 1, 2, 1}, {"i2", 1, 4, 1}, {"u2", 1, 4, 1}, {"i1", 1, 8, 1},
    {"u1", 1, 8, 1}, {"q4_0", 2, 32, 18}, {"q4_1", 2, 32, 20}, {"q5_0", 2, 32, 22}, {"q5_1", 2, 32, 24}, {"q8_0", 2, 32, 34},
    {"q8_1", 2, 32, 36}, {"q2_k", 2, 256, 84}, {"q3_k", 2, 256, 110}, {"q4_k", 2, 256, 144}, {"q5_k", 2, 256, 176}, {"q6_k", 2, 256, 210},
    {"q8_k", 2, 256, 292}, {"iq2_xxs", 2, 256, 66}, {"iq2_xs", 2, 256, 74}, {"iq2_s", 2, 256, 82}, {"iq3_xxs", 2, 256, 98},
    {"iq3_s", 2, 256, 110}, {"iq1_s", 2, 256, 50}, {"iq1_m", 2, 256, 56}, {"iq4_nl", 2, 32, 18}, {"iq4_xs", 2, 256, 136},
    {"tq1_0", 2, 256, 54}, {"tq2_0", 2, 256, 66}, {"mxfp4", 2, 32, 17}, {"nvfp4", 2, 64, 36}, {"q1_0", 2, 128, 18}, {"q2_0", 2, 64, 18},
};

static int dtype_record(const cairn *c, reader *r, cairn_fault *f)
{
    uint32_t at = r->at, elements, bytes, n;
    const uint8_t *p = c->index + at;
    size_t k;
    if (take(c, r, 10, f) || take(c, r, p[9], f))
        return 1;
    elements = u32_at(p);
    bytes = u32_at(p + 4);
    n = p[9];
    if (p[8] > 2)
        return at_index(c, f, CAIRN_E_DTYPE_CLASS, at + 8);
    if (!name_form(p + 10, n))
        return at_index(c, f, CAIRN_E_DTYPE_NAME, at + 9);
    if (bytes < 1 || bytes > 65535)
        return at_index(c, f, CAIRN_E_DTYPE_GEOMETRY, at + 4);
    if (p[8] == CAIRN_SCALAR ? elements != 1 : elements < 2 || (p[8] == CAIRN_PACKED && bytes * 8 % elements != 0))
        return at_index(c, f, CAIRN_E_DTYPE_GEOMETRY, at);
    for (k = 0; k < sizeof REGISTRY / sizeof *REGISTRY; k++)
        if (n < sizeof REGISTRY[k].name && memcmp(p + 10, REGISTRY[k].name, n) == 0 && REGISTRY[k].name[n] == 0
            && (p[8] != REGISTRY[k].cls || elements != REGISTRY[k].elements || bytes != REGISTRY[k].bytes))
            return at_index(c, f, CAIRN_E_DTYPE_REGISTERED, at);
    return 0;
}

static int read_dtypes(cairn *c, reader *r, cairn_fault *f)
{
    uint32_t k, duplicate, *room;
    int bad = 0;
    size_t used;
    if (take_count(c, r, &c->n_dtypes, 11, f) || !(c->dtypes = allot(c, c->n_dtypes, f)))
        return 1;
    used = c->used;
    if (!(room = allot(c, c->n_dtypes, f)))
        return 1;
    c->used = used;
    for (k = 0; k < c->n_dtypes; k++) {
        c->dtypes[k] = room[k] = r->at;
        if (dtype_record(c, r, f)) {
            bad = 1;
            break;
        }
    }
    if ((duplicate = first_duplicate(c, BY_NAME, room, k)) != MARK)       /* comes before what broke a later record */
        return at_index(c, f, CAIRN_E_DTYPE_DUPLICATE, duplicate);
    return bad;
}

/* ---- steps 12 and 13: buffers (§7.4, §5.2) and their block CRCs (§7.5) ---- */

static uint64_t buffer_length(const cairn *c, uint32_t b) { return u64_at(c->index + c->buffers_at + (size_t)b * 16); }
static uint32_t buffer_kind(const cairn *c, uint32_t b) { return u32_at(c->index + c->buffers_at + (size_t)b * 16 + 8); }
static uint64_t buffer_begin(const cairn *c, uint32_t b) { return c->buffers[3 * (size_t)b] | (uint64_t)c->buffers[3 * (size_t)b + 1] << 32; }
static uint32_t buffer_crcs(const cairn *c, uint32_t b) { return c->buffers[3 * (size_t)b + 2] & ~MARK; }

/* `end` comes back as the end of the last buffer. */
static int read_buffers(cairn *c, reader *r, uint64_t *end, cairn_fault *f)
{
    uint32_t k;
    uint64_t blocks = 0;
    if (take_count(c, r, &c->n_buffers, 16, f) || !(c->buffers = allot(c, 3 * (size_t)c->n_buffers, f)))
        return 1;
    c->buffers_at = r->at;
    *end = c->streamed ? 64 : 64 + (uint64_t)c->index_length;
    for (k = 0; k < c->n_buffers; k++) {
        uint32_t at = r->at, kind, owner;
        uint64_t n, begin;
        if (take(c, r, 16, f))
            return 1;
        n = buffer_length(c, k);
        kind = buffer_kind(c, k);
        owner = u32_at(c->index + at + 12);
        if (n == 0 && kind < 2)
            return at_index(c, f, CAIRN_E_BUFFER_LENGTH, at);
        if (kind == 0 ? owner != 0 : !has_extension(c, owner))
            return at_index(c, f, CAIRN_E_BUFFER_OWNER, at + 12);
        if (k && kind != 1 && buffer_kind(c, k - 1) == 1)
            return at_index(c, f, CAIRN_E_BUFFER_ORDER, at + 8);
        begin = align_up(*end, n >= 65536 ? 4096 : 64);
        if (begin > MAX63 || n > MAX63 - begin)
            return at_index(c, f, CAIRN_E_BUFFER_LENGTH, at);
        *end = begin + n;
        c->buffers[3 * (size_t)k] = (uint32_t)(begin & 0xFFFFFFFFu);
        c->buffers[3 * (size_t)k + 1] = (uint32_t)(begin >> 32);
    }
    c->crcs_at = r->at;
    for (k = 0; k < c->n_buffers; k++) {
        uint64_t n = buffer_length(c, k);
        if (blocks <= INDEX_MOST)       /* else it does not fit, as the next step finds */
            c->buffers[3 * (size_t)k + 2] = (uint32_t)less(c->crcs_at + blocks * 4, MARK - 1);
        blocks += (n >> c->log2) + ((n & (((uint64_t)1 << c->log2) - 1)) != 0);
    }
    if (take(c, r, blocks * 4, f))
        return 1;
    c->n_blocks = (uint32_t)blocks;
    return 0;
}

/* ---- step 14: tensors (§7.6, §7.7) ---- */

/* n × m, or 0 if that exceeds 2^63−1; both above 0. */
static uint64_t times(uint64_t n, uint64_t m) { return n > MAX63 / m ? 0 : n * m; }

/* Axes of extent above 1, by stride; how many. */
static unsigned axes_by_stride(const cairn_tensor *t, uint8_t *axes)
{
    unsigned n = 0, k, j;
    for (k = 0; k < t->rank; k++) {
        uint64_t s;
        if (cairn_axis(t->shape, k) <= 1)
            continue;
        s = cairn_axis(t->strides, k);
        for (j = n++; j > 0 && cairn_axis(t->strides, axes[j - 1]) > s; j--)
            axes[j] = axes[j - 1];
        axes[j] = (uint8_t)k;
    }
    return n;
}

/* The sum S of §7.7, and t->dense; 0 if the strides are not legal. S is above 0 if they are: some axis has extent above 1. */
static uint64_t reach(cairn_tensor *t)
{
    uint8_t axes[64];
    unsigned n, k;
    uint64_t row = 1, sum = 0, product = 1;
    int row_major = 1;
    for (k = t->rank; k-- > 0;) {
        uint64_t d = cairn_axis(t->shape, k), s = cairn_axis(t->strides, k);
        if ((d <= 1) != (s == 0))
            return 0;
        if (d > 1) {
            row_major = row_major && s == row;
            row *= d;               /* a factor of the elements */
        }
    }
    if (row_major)
        return 0;
    n = axes_by_stride(t, axes);
    t->dense = 1;
    for (k = 0; k < n; k++) {
        uint64_t d = cairn_axis(t->shape, axes[k]), s = cairn_axis(t->strides, axes[k]), far;
        if (s <= sum)
            return 0;
        t->dense = t->dense && s == product;
        far = times(d - 1, s);
        if (far == 0 || far > MAX63 - 1 - sum)
            return 0;
        sum += far;
        product *= d;
    }
    return sum;
}

/* What the record at `at` says. Its fields have been read; its dtype number is checked here. `elements` counts extents of 0 as 1 until the end. */
static int tensor_record(const cairn *c, uint32_t at, cairn_tensor *t, cairn_fault *f)
{
    const uint8_t *p = c->index + at, *d;
    uint32_t dtype = u32_at(p);
    unsigned k, empty = 0;
    uint64_t groups, alignment;

    t->buffer = u32_at(p + 4);
    t->offset = u64_at(p + 8);
    t->rank = p[16];
    t->has_strides = p[17];
    t->shape = p + 18;
    t->strides = p + 18 + (size_t)t->rank * 8;
    t->dense = 1;
    if (dtype >= c->n_dtypes)
        return at_index(c, f, CAIRN_E_TENSOR_DTYPE, at);
    d = c->index + c->dtypes[dtype];
    t->group_elements = u32_at(d);
    t->group_bytes = u32_at(d + 4);
    t->dtype_class = (enum cairn_dtype_class)d[8];
    t->dtype_length = d[9];
    t->dtype = d + 10;
    t->elements = 1;
    for (k = 0; k < t->rank; k++) {
        uint64_t x = cairn_axis(t->shape, k);
        empty |= x == 0;
        if (x && !(t->elements = times(t->elements, x)))
            return at_index(c, f, CAIRN_E_TENSOR_SIZE, at + 18 + 8 * k);
    }
    groups = t->elements / t->group_elements + (t->elements % t->group_elements != 0);
    if (!(t->bytes = t->extent = times(groups, t->group_bytes)))
        return at_index(c, f, CAIRN_E_TENSOR_SIZE, at + 18);
    if (t->dtype_class == CAIRN_BLOCK && (t->rank == 0 || cairn_axis(t->shape, t->rank - 1) % t->group_elements))
        return at_index(c, f, CAIRN_E_TENSOR_GROUPS, t->rank ? at + 10 + 8 * t->rank : at + 16);
    if (t->has_strides) {
        uint64_t sum;
        if (t->dtype_class != CAIRN_SCALAR || empty || !(sum = reach(t)))
            return at_index(c, f, CAIRN_E_TENSOR_STRIDES, at + 18 + 8 * t->rank);
        if (!(t->extent = times(sum + 1, t->group_bytes)))
            return at_index(c, f, CAIRN_E_TENSOR_SIZE, at + 18 + 8 * t->rank);
    }
    if ((t->buffer == CAIRN_NO_BUFFER) != (empty != 0))
        return at_index(c, f, CAIRN_E_TENSOR_BUFFER, at + 4);
    alignment = less(t->group_bytes & (~t->group_bytes + 1), 64);
    if (t->offset % alignment || (empty && t->offset))
        return at_index(c, f, CAIRN_E_TENSOR_OFFSET, at + 8);
    if (empty) {
        t->elements = t->bytes = t->extent = 0;
        return 0;
    }
    if (t->buffer >= c->n_buffers)
        return at_index(c, f, CAIRN_E_TENSOR_BUFFER, at + 4);
    if (buffer_kind(c, t->buffer) == 1)
        return at_index(c, f, CAIRN_E_BUFFER_VIEWED, at + 4);
    if (buffer_kind(c, t->buffer) == 0) {
        uint64_t n = buffer_length(c, t->buffer);
        if (t->extent > n || t->offset > n - t->extent)
            return at_index(c, f, CAIRN_E_TENSOR_EXTENT, at + 8);
    }
    return 0;
}

static void tensor_fill(const cairn *c, uint32_t number, cairn_tensor *t)
{
    cairn_fault ignored;
    t->number = number;
    (void)tensor_record(c, c->tensors[number] & ~MARK, t, &ignored);
}

static int read_tensors(cairn *c, reader *r, cairn_fault *f)
{
    uint32_t k, duplicate, next, buffers;
    size_t j;
    cairn_tensor t;
    if (take_count(c, r, &c->n_tensors, 18, f) || !(c->tensors = allot(c, c->n_tensors, f)) || !(c->views = allot(c, c->n_tensors, f)))
        return 1;
    for (k = 0; k < c->n_tensors; k++) {
        uint32_t at = r->at;
        const uint8_t *p = c->index + at;
        if (take(c, r, 18, f))
            return 1;
        if (p[16] > 64)
            return at_index(c, f, CAIRN_E_TENSOR_RANK, at + 16);
        if (p[17] > 1)
            return at_index(c, f, CAIRN_E_TENSOR_FLAGS, at + 17);
        if (take(c, r, record_length(p) - 18, f) || tensor_record(c, at, &t, f))
            return 1;
        c->tensors[k] = c->views[k] = at;
    }
    if ((duplicate = first_duplicate(c, BY_RECORD, c->views, c->n_tensors)) != MARK)
        return at_index(c, f, CAIRN_E_TENSOR_DUPLICATE, duplicate);

    next = 0;                                                                               /* dtype-order */
    for (k = 0; k < c->n_tensors; k++) {
        uint32_t d = u32_at(c->index + c->tensors[k]);
        if (d > next)
            return at_index(c, f, CAIRN_E_DTYPE_ORDER, c->tensors[k]);
        next += d == next;
    }
    if (next < c->n_dtypes)
        return at_index(c, f, CAIRN_E_DTYPE_ORDER, c->dtypes[next]);

    next = 0;                                                                               /* buffer-order */
    for (k = 0; k < c->n_tensors; k++) {
        uint32_t b = u32_at(c->index + c->tensors[k] + 4);
        if (b == CAIRN_NO_BUFFER)
            continue;
        if (!c->streamed && b > next)
            return at_index(c, f, CAIRN_E_BUFFER_ORDER, c->tensors[k] + 4);
        next += b == next;
        c->views[c->n_views++] = k;
    }
    sort(c, BY_VIEW, c->views, c->n_views);

    for (buffers = c->n_buffers; buffers && buffer_kind(c, buffers - 1) == 1;)              /* auxiliary ones are last */
        buffers--;
    next = 0;                                                                               /* buffer-unused */
    for (j = 0; j < c->n_views; j++) {
        uint32_t b = u32_at(c->index + c->tensors[c->views[j]] + 4);
        if (b > next)
            break;
        if (b < next)
            c->buffers[3 * (size_t)b + 2] |= MARK;
        next += b == next;
    }
    if (next < buffers)
        return at_index(c, f, CAIRN_E_BUFFER_UNUSED, c->buffers_at + 16 * next);
    return 0;
}

/* ---- step 16: sharing (§7.8) ---- */

static int check_views(const cairn *c, cairn_fault *f)
{
    size_t j = 0, first;
    while (j < c->n_views) {
        cairn_tensor t;
        uint64_t top = 0, length;
        uint32_t b, partial = MARK;
        tensor_fill(c, c->views[j], &t);
        b = t.buffer;
        length = buffer_length(c, b);
        for (first = j; j < c->n_views; j++) {
            tensor_fill(c, c->views[j], &t);
            if (t.buffer != b)
                break;
            if (buffer_kind(c, b) != 0)
                continue;
            if (t.dense) {
                if (top == 0 ? t.offset != 0 : t.offset >= top)
                    return at_index(c, f, CAIRN_E_VIEW_COVER, c->tensors[t.number]);
                if (t.offset + t.extent > top)
                    top = t.offset + t.extent;
            }
            if (t.dtype_class == CAIRN_PACKED && t.elements % t.group_elements)
                partial = (uint32_t)less(partial, c->tensors[t.number]);
        }
        if (buffer_kind(c, b) == 0) {
            if (top != length)
                return at_index(c, f, CAIRN_E_VIEW_COVER, c->buffers_at + 16 * b);
            if (j - first > 1 && partial != MARK)
                return at_index(c, f, CAIRN_E_VIEW_PARTIAL, partial);
        }
    }
    return 0;
}

/* ---- steps 17 and 18: values (§9, §12.3) ---- */

typedef struct {
    reader outer;               /* what bounds the fields behind the container; for a named value: what bounds its value too */
    size_t keys;                /* in the work area: where the keys of this dict begin */
    uint32_t left, path;        /* children to come; bytes of keys on the path to this value */
    uint8_t tag;
} frame;

/* Duplicates among the keys of the dicts that are being read. All these keys stand before the fault that ended the reading. */
static int open_keys(cairn *c, const frame *stack, unsigned depth, cairn_fault *f)
{
    size_t end;
    uint32_t least = MARK;
    for (end = c->used; depth-- > 0;) {
        uint32_t d;
        if (stack[depth].tag != CAIRN_DICT)
            continue;
        if ((d = first_duplicate(c, BY_KEY, c->work + stack[depth].keys, end - stack[depth].keys)) < least)
            least = d;
        end = stack[depth].keys;
    }
    if (least != MARK)
        at_index(c, f, CAIRN_E_KEY_DUPLICATE, least);
    return 1;
}

static int check_text(const cairn *c, uint32_t at, uint32_t n, cairn_fault *f)
{
    size_t bad = bad_utf8(c->index + at, n);
    return bad < n ? at_index(c, f, CAIRN_E_VALUE_UTF8, at + (uint32_t)bad) : 0;
}

/* A key of a dict; adds its bytes to *path. */
static int check_key(cairn *c, reader *r, int metadata_top, uint32_t *path, cairn_fault *f)
{
    uint32_t at = r->at, n = 8, *place;
    uint8_t tag;
    if (take(c, r, 1, f))
        return 1;
    tag = c->index[at];
    if (tag != CAIRN_INT && tag != CAIRN_STR && tag != CAIRN_BYTES)
        return at_index(c, f, CAIRN_E_KEY_TAG, at);
    if (metadata_top && tag != CAIRN_STR)
        return at_index(c, f, CAIRN_E_METADATA, at);
    if ((tag != CAIRN_INT && take_u32(c, r, &n, f)) || take(c, r, n, f))
        return 1;
    if (n > 4096 - *path)
        return at_index(c, f, CAIRN_E_PATH_LIMIT, at);
    *path += n;
    if (tag == CAIRN_STR && check_text(c, r->at - n, n, f))
        return 1;
    if (!(place = allot(c, 1, f)))
        return 1;
    *place = at;
    return 0;
}

/* A leaf; *next is the number of tensors met. */
static int check_leaf(cairn *c, uint32_t at, uint32_t number, int is_bytes, uint32_t *next, cairn_fault *f)
{
    cairn_tensor t;
    if (number >= c->n_tensors)
        return at_index(c, f, CAIRN_E_TENSOR_REFERENCE, at + 1);
    if (number > *next)
        return at_index(c, f, CAIRN_E_TENSOR_ORDER, at + 1);
    if (c->tensors[number] & MARK || (is_bytes && number < *next))
        return at_index(c, f, CAIRN_E_NAMED_BYTES, at);
    *next += number == *next;
    if (!is_bytes)
        return 0;
    tensor_fill(c, number, &t);
    c->tensors[number] |= MARK;
    if (t.dtype_length != 2 || memcmp(t.dtype, "u8", 2) != 0 || t.rank != 1 || t.elements <= 65536 || t.has_strides || t.offset
        || c->buffers[3 * (size_t)t.buffer + 2] & MARK
        || (buffer_kind(c, t.buffer) == 0 && buffer_length(c, t.buffer) != t.elements))
        return at_index(c, f, CAIRN_E_NAMED_BYTES, at);
    return 0;
}

/* A value and all in it. `next` is NULL in the metadata. */
static int check_tree(cairn *c, reader *r, uint32_t *next, cairn_fault *f)
{
    frame stack[128];
    unsigned depth = 0;         /* frames; the value that comes has depth + 1 */
    uint32_t path = 0;
    int is_bytes = 0;           /* the value that comes belongs to a name `bytes` */
    const uint8_t *ix = c->index;

    for (;;) {
        uint32_t at = r->at, n, count;
        uint8_t tag;
        frame *top;

        if (depth >= 128) {
            at_index(c, f, CAIRN_E_DEPTH_LIMIT, at);
            return open_keys(c, stack, depth, f);
        }
        if (take(c, r, 1, f))
            return open_keys(c, stack, depth, f);
        tag = ix[at];
        if (tag < CAIRN_NULL || tag > CAIRN_TENSOR) {
            at_index(c, f, CAIRN_E_VALUE_TAG, at);
            return open_keys(c, stack, depth, f);
        }
        if (is_bytes && tag != CAIRN_TENSOR) {
            at_index(c, f, CAIRN_E_NAMED_BYTES, at);
            return open_keys(c, stack, depth, f);
        }
        f->code = CAIRN_OK;
        switch ((enum cairn_tag)tag) {
        case CAIRN_NULL: case CAIRN_FALSE: case CAIRN_TRUE:
            break;
        case CAIRN_INT: case CAIRN_FLOAT:
            (void)take(c, r, 8, f);
            break;
        case CAIRN_COMPLEX:
            (void)(take(c, r, 8, f) || take(c, r, 8, f));
            break;
        case CAIRN_BIG_INT:
            if (take_u32(c, r, &n, f))
                break;
            if (n > 8192)
                at_index(c, f, CAIRN_E_BIGINT_LIMIT, at + 1);
            else if (n < 9)
                at_index(c, f, CAIRN_E_VALUE_BIGINT, at + 1);
            else if (!take(c, r, n, f) && ix[r->at - 1] == (ix[r->at - 2] >= 0x80 ? 0xFF : 0))
                at_index(c, f, CAIRN_E_VALUE_BIGINT, r->at - 1);
            break;
        case CAIRN_STR:
            if (!take_u32(c, r, &n, f) && !take(c, r, n, f))
                (void)check_text(c, r->at - n, n, f);
            break;
        case CAIRN_BYTES:
            if (take_u32(c, r, &n, f))
                break;
            if (n > 65536)
                at_index(c, f, CAIRN_E_BYTES_LIMIT, at + 1);
            else
                (void)take(c, r, n, f);
            break;
        case CAIRN_LIST: case CAIRN_TUPLE: case CAIRN_DICT:
            if (take_u32(c, r, &count, f) || take_u32(c, r, &n, f))
                break;
            if ((uint64_t)count * (tag == CAIRN_DICT ? 6 : 1) > n)
                at_index(c, f, CAIRN_E_VALUE_LENGTH, at + 1);
            else if (n > r->end - r->at)
                at_index(c, f, r->code, at + 5);
            else {
                top = &stack[depth++];
                top->outer = *r;
                top->keys = c->used;
                top->left = count;
                top->path = path;
                top->tag = tag;
                r->end = r->at + n;
                r->code = CAIRN_E_VALUE_LENGTH;
            }
            break;
        case CAIRN_NAMED:
            if (take_u32(c, r, &n, f))
                break;
            if (n < 1 || n > 255) {
                at_index(c, f, CAIRN_E_NAMED_NAME, at + 1);
                break;
            }
            if (take(c, r, n, f))
                break;
            if (!name_form(ix + r->at - n, n)) {
                at_index(c, f, CAIRN_E_NAMED_NAME, at + 5);
                break;
            }
            top = &stack[depth++];
            top->outer = *r;
            top->keys = 0;
            top->left = 1;
            top->path = path;
            top->tag = tag;
            break;
        case CAIRN_TENSOR:
            if (take_u32(c, r, &n, f))
                break;
            if (!next)
                at_index(c, f, CAIRN_E_METADATA, at);
            else
                (void)check_leaf(c, at, n, is_bytes, next, f);
            break;
        }
        if (f->code != CAIRN_OK)
            return open_keys(c, stack, depth, f);
        is_bytes = 0;

        while (depth && stack[depth - 1].left == 0) {       /* close what is complete */
            top = &stack[depth - 1];
            if (top->tag != CAIRN_NAMED) {
                if (r->at != r->end) {
                    at_index(c, f, CAIRN_E_VALUE_LENGTH, r->at);
                    return open_keys(c, stack, depth, f);
                }
                if (top->tag == CAIRN_DICT) {
                    uint32_t d = first_duplicate(c, BY_KEY, c->work + top->keys, c->used - top->keys);
                    c->used = top->keys;
                    if (d != MARK) {
                        at_index(c, f, CAIRN_E_KEY_DUPLICATE, d);
                        return open_keys(c, stack, depth - 1, f);
                    }
                }
                r->end = top->outer.end;
                r->code = top->outer.code;
            }
            depth--;
        }
        if (depth == 0)
            return 0;
        top = &stack[depth - 1];
        top->left--;
        path = top->path;
        if (top->tag == CAIRN_DICT && check_key(c, r, !next && depth == 1, &path, f))
            return open_keys(c, stack, depth, f);
        if (top->tag == CAIRN_NAMED)
            is_bytes = r->at - at == 10 && memcmp(ix + r->at - 5, "bytes", 5) == 0;
    }
}

/* ---- opening ---- */

int cairn_open(cairn *c, uint32_t *work, size_t words, cairn_fault *f)
{
    reader r;
    uint64_t end, second;
    uint32_t next = 0;
    size_t want = cairn_words(c);

    if (words < want)
        return fail(f, CAIRN_E_BUDGET, c->index_at);
    c->work = work;
    c->words = table_words(c);
    c->used = 0;
    c->n_views = 0;
    if (c->map) {                                                                           /* step 9 */
        c->index = c->map + c->index_at;
    } else {
        uint8_t *room = (uint8_t *)(work + c->words);
        if (c->read(c->ctx, c->index_at, room, c->index_length))
            return fail(f, CAIRN_E_IO, c->index_at);
        c->index = room;
    }
    if (crc_more(c, 0, c->index, c->index_length) != c->index_crc)
        return fail(f, CAIRN_E_INDEX_CRC, c->index_at);
    r.at = 0;
    r.end = c->index_length;
    r.code = CAIRN_E_INDEX_SHORT;
    if (read_extensions(c, &r, f) || read_dtypes(c, &r, f) || read_buffers(c, &r, &end, f) || read_tensors(c, &r, f))     /* 10 to 14 */
        return (int)f->code;
    second = align_up(end, 64);                                                             /* 15 */
    if (c->streamed && c->index_at != second)
        return fail(f, CAIRN_E_INDEX_OFFSET, c->size - 64 + 24);
    if (align_up(second + c->index_length, 64) + 64 != c->size)
        return fail(f, CAIRN_E_FILE_LAYOUT, c->streamed ? c->size - 64 + 16 : 16);
    c->second_at = second;
    if (check_views(c, f))                                                                  /* 16 */
        return (int)f->code;
    c->metadata_at = r.at;                                                                  /* 17 */
    if (r.at < r.end && c->index[r.at] != CAIRN_DICT)
        return at_index(c, f, CAIRN_E_METADATA, r.at);
    if (check_tree(c, &r, NULL, f))
        return (int)f->code;
    c->root_at = r.at;                                                                      /* 18 */
    if (check_tree(c, &r, &next, f))
        return (int)f->code;
    if (r.at != r.end)                                                                      /* 19 */
        return at_index(c, f, CAIRN_E_INDEX_LONG, r.at);
    if (next != c->n_tensors)
        return at_index(c, f, CAIRN_E_TENSOR_ORDER, c->tensors[next] & ~MARK);
    return 0;
}

/* ---- values of an open file: everything has been checked ---- */

static void value_at(const cairn *c, uint32_t at, cairn_value *v)
{
    const uint8_t *p = c->index + at;
    uint32_t n;
    memset(v, 0, sizeof *v);
    v->tag = (enum cairn_tag)*p;
    v->inside = v->after = at + 1;
    switch (v->tag) {
    case CAIRN_NULL: case CAIRN_FALSE: case CAIRN_TRUE:
        break;
    case CAIRN_INT: case CAIRN_FLOAT:
        v->bits[0] = u64_at(p + 1);
        v->after = at + 9;
        break;
    case CAIRN_COMPLEX:
        v->bits[0] = u64_at(p + 1);
        v->bits[1] = u64_at(p + 9);
        v->after = at + 17;
        break;
    case CAIRN_BIG_INT: case CAIRN_STR: case CAIRN_BYTES:
        v->length = u32_at(p + 1);
        v->bytes = p + 5;
        v->after = at + 5 + v->length;
        break;
    case CAIRN_LIST: case CAIRN_TUPLE: case CAIRN_DICT:
        v->count = u32_at(p + 1);
        v->inside = at + 9;
        v->after = at + 9 + u32_at(p + 5);
        break;
    case CAIRN_NAMED:
        v->count = 1;
        v->length = u32_at(p + 1);
        v->bytes = p + 5;
        v->inside = n = at + 5 + v->length;
        while (c->index[n] == CAIRN_NAMED)              /* at most 128 */
            n += 5 + u32_at(c->index + n + 1);
        {
            cairn_value last;
            value_at(c, n, &last);                      /* once: it is not a named value */
            v->after = last.after;
        }
        break;
    case CAIRN_TENSOR:
        v->count = u32_at(p + 1);
        v->after = at + 5;
        break;
    }
}

void cairn_metadata(const cairn *c, cairn_value *value) { value_at(c, c->metadata_at, value); }
void cairn_root(const cairn *c, cairn_value *value) { value_at(c, c->root_at, value); }

void cairn_enter(const cairn_value *value, cairn_cursor *cursor)
{
    cursor->at = value->inside;
    cursor->in = value->tag;
    cursor->left = value->tag >= CAIRN_LIST && value->tag <= CAIRN_NAMED ? value->count : 0;
}

int cairn_next(const cairn *c, cairn_cursor *cursor, cairn_value *key, cairn_value *value)
{
    cairn_value k;
    if (cursor->left == 0)
        return 0;
    cursor->left--;
    if (cursor->in == CAIRN_DICT) {
        value_at(c, cursor->at, &k);
        cursor->at = k.after;
        if (key)
            *key = k;
    }
    value_at(c, cursor->at, value);
    cursor->at = value->after;
    return 1;
}

uint32_t cairn_skip(const cairn *c, cairn_cursor *cursor, uint32_t n)
{
    cairn_value v;
    uint32_t k;
    for (k = 0; k < n && cairn_next(c, cursor, NULL, &v); k++)
        ;
    return k;
}

/* ---- addresses (§9.7) ---- */

typedef struct {
    enum cairn_tag tag;         /* of the key: str, int or bytes */
    const uint8_t *text;        /* of the token, behind ~i or ~b */
    size_t length;
    uint64_t number;            /* int: two's complement */
} token;

static int digit_in(uint8_t x) { return x >= '0' && x <= '9'; }
static int hex_in(uint8_t x) { return digit_in(x) ? x - '0' : x >= 'a' && x <= 'f' ? x - 'a' + 10 : -1; }

/* int-token behind ~i: 0 if it is not one or not within i64. */
static int int_token(token *t)
{
    size_t k = 0;
    int minus = t->length && t->text[0] == '-';
    uint64_t most = MAX63 + (minus ? 1u : 0u), n = 0;
    k = minus ? 1 : 0;
    if (k == t->length || (t->text[k] == '0' && t->length > 1))
        return 0;
    for (; k < t->length; k++) {
        uint64_t d = (uint64_t)t->text[k] - '0';
        if (!digit_in(t->text[k]) || n > (most - d) / 10)
            return 0;
        n = n * 10 + d;
    }
    t->number = minus ? ~n + 1 : n;
    return 1;
}

/* The token behind the "/" at *at; 0 if it is outside the grammar. */
static int next_token(const uint8_t *p, size_t n, size_t *at, token *t)
{
    size_t k, from = ++*at;
    while (*at < n && p[*at] != '/')
        ++*at;
    t->text = p + from;
    t->length = *at - from;
    t->tag = CAIRN_STR;
    if (t->length >= 2 && t->text[0] == '~' && (t->text[1] == 'i' || t->text[1] == 'b')) {
        t->tag = t->text[1] == 'i' ? CAIRN_INT : CAIRN_BYTES;
        t->text += 2;
        t->length -= 2;
        if (t->tag == CAIRN_INT)
            return int_token(t);
        for (k = 0; k < t->length; k++)
            if (hex_in(t->text[k]) < 0)
                return 0;
        return t->length % 2 == 0;
    }
    for (k = 0; k < t->length; k++)
        if (t->text[k] == '~' && (k + 1 == t->length || (t->text[k + 1] != '0' && t->text[k + 1] != '1')))
            return 0;
    return 1;
}

static int token_is(const token *t, const cairn_value *key)
{
    size_t k;
    uint32_t j = 0;
    if (key->tag != t->tag)
        return 0;
    if (t->tag == CAIRN_INT)
        return key->bits[0] == t->number;
    for (k = 0; k < t->length; k++, j++) {
        int x = t->text[k];
        if (t->tag == CAIRN_BYTES) {
            x = hex_in(t->text[k]) * 16 + hex_in(t->text[k + 1]);
            k++;
        } else if (x == '~') {
            x = t->text[++k] == '0' ? '~' : '/';
        }
        if (j >= key->length || key->bytes[j] != x)
            return 0;
    }
    return j == key->length;
}

int cairn_at(const cairn *c, const char *address, size_t n, cairn_value *value, cairn_fault *f)
{
    const uint8_t *p = (const uint8_t *)address;
    size_t at = 0, k;
    token t;
    if (bad_utf8(p, n) < n)
        return fail(f, CAIRN_E_ADDRESS, 0);
    while (at < n)
        if (p[at] != '/' || !next_token(p, n, &at, &t))
            return fail(f, CAIRN_E_ADDRESS, 0);
    cairn_root(c, value);
    for (at = 0; at < n;) {
        cairn_cursor cursor;
        cairn_value key;
        int found = 0;
        (void)next_token(p, n, &at, &t);
        while (value->tag == CAIRN_NAMED)
            value_at(c, value->inside, value);
        cairn_enter(value, &cursor);
        if (value->tag == CAIRN_DICT) {
            while (!found && cairn_next(c, &cursor, &key, value))
                found = token_is(&t, &key);
        } else if (t.tag == CAIRN_STR && t.length && !(t.text[0] == '0' && t.length > 1)) {
            uint64_t position = 0;
            for (k = 0; k < t.length && digit_in(t.text[k]) && position <= 0xFFFFFFFFu; k++)
                position = position * 10 + (uint64_t)t.text[k] - '0';
            found = k == t.length && position < cursor.left && cairn_skip(c, &cursor, (uint32_t)position) == position
                && cairn_next(c, &cursor, NULL, value);
        }
        if (!found)
            return fail(f, CAIRN_E_NOT_FOUND, 0);
    }
    return 0;
}

/* ---- tensors of an open file ---- */

uint32_t cairn_tensor_count(const cairn *c) { return c->n_tensors; }

int cairn_tensor_get(const cairn *c, uint32_t number, cairn_tensor *t, cairn_fault *f)
{
    if (number >= c->n_tensors)
        return fail(f, CAIRN_E_OUT_OF_RANGE, 0);
    tensor_fill(c, number, t);
    return 0;
}

int cairn_tensor_at(const cairn *c, const char *address, size_t n, cairn_tensor *t, cairn_fault *f)
{
    cairn_value v;
    if (cairn_at(c, address, n, &v, f))
        return (int)f->code;
    while (v.tag == CAIRN_NAMED)
        value_at(c, v.inside, &v);
    if (v.tag != CAIRN_TENSOR)
        return fail(f, CAIRN_E_WRONG_TYPE, 0);
    return cairn_tensor_get(c, v.count, t, f);
}

/* ---- level V for a tensor (§8, §12.4) ---- */

/* A walk over bytes from..to of a buffer, in the order of the file, block by block. Gathering, it follows the elements of a tensor with strides
 * and puts them into `out` in row-major order; else it copies from..to. `out` may be NULL. */
typedef struct {
    const cairn_tensor *t;
    uint64_t from, to;
    uint8_t *out;
    int gather, trusted, done;          /* trusted: the blocks have been checked */
    int is_bool;
    unsigned axes;                      /* by stride, the greatest first */
    uint64_t extent[64], stride[64], row[64], index[64];
    uint64_t position, row_position;    /* of the next element, in elements */
    uint64_t bad_bool, bad_tail;        /* places in the buffer, or UINT64_MAX */
} walk;

static void walk_start(walk *w, const cairn_tensor *t, uint64_t from, uint64_t to, uint8_t *out, int gather)
{
    uint8_t axes[64];
    uint64_t row[64], product = 1;
    unsigned k;
    w->t = t;
    w->from = t->offset + from;
    w->to = t->offset + to;
    w->out = out;
    w->gather = gather && t->has_strides;
    w->trusted = w->done = 0;
    w->is_bool = t->dtype_length == 4 && memcmp(t->dtype, "bool", 4) == 0;
    w->axes = 0;
    w->position = w->row_position = 0;
    w->bad_bool = w->bad_tail = UINT64_MAX;
    if (!t->has_strides)
        return;
    for (k = t->rank; k-- > 0;) {
        row[k] = product;
        product *= cairn_axis(t->shape, k);
    }
    w->axes = axes_by_stride(t, axes);
    for (k = 0; k < w->axes; k++) {
        unsigned axis = axes[w->axes - 1 - k];
        w->extent[k] = cairn_axis(t->shape, axis);
        w->stride[k] = cairn_axis(t->strides, axis);
        w->row[k] = row[axis];
        w->index[k] = 0;
    }
}

static void walk_next(walk *w)
{
    unsigned k = w->axes;
    while (k-- > 0) {
        w->position += w->stride[k];
        w->row_position += w->row[k];
        if (++w->index[k] < w->extent[k])
            return;
        w->position -= w->stride[k] * w->extent[k];
        w->row_position -= w->row[k] * w->extent[k];
        w->index[k] = 0;
    }
    w->done = 1;
}

/* Whether an element stands at this number: with legal strides there is one way to write it. */
static int is_element(const walk *w, uint64_t number)
{
    unsigned k;
    for (k = 0; k < w->axes; k++) {
        uint64_t i = number / w->stride[k];
        if (i >= w->extent[k])
            return 0;
        number -= i * w->stride[k];
    }
    return number == 0;
}

static void walk_bools(walk *w, uint64_t at, const uint8_t *p, size_t n)
{
    size_t k;
    uint8_t any = 0;
    for (k = 0; k < n; k++)
        any |= p[k];
    if (any <= 1 || w->bad_bool != UINT64_MAX)
        return;
    for (k = 0; k < n; k++)
        if (p[k] > 1 && (w->t->dense || is_element(w, at + k - w->t->offset))) {
            w->bad_bool = at + k;
            return;
        }
}

static void walk_tail(walk *w, uint64_t at, const uint8_t *p, size_t n)
{
    const cairn_tensor *t = w->t;
    uint64_t bits = t->elements % t->group_elements * ((uint64_t)t->group_bytes * 8 / t->group_elements);
    uint64_t end = t->offset + t->extent, place = end - t->group_bytes + bits / 8;
    unsigned skip = (unsigned)(bits % 8);
    for (; place < end; place++, skip = 0)
        if (place >= at && place - at < n && p[place - at] >> skip && w->bad_tail == UINT64_MAX)
            w->bad_tail = place;
}

/* Takes bytes at..at+n of the buffer. */
static void walk_take(walk *w, uint64_t at, const uint8_t *p, size_t n)
{
    const cairn_tensor *t = w->t;
    uint64_t end = at + n, from, to, size = t->group_bytes;
    if (w->gather) {
        for (; !w->done; walk_next(w)) {
            uint64_t begin = t->offset + w->position * size;
            if (begin >= end)
                return;
            from = begin > at ? begin : at;
            to = less(begin + size, end);
            if (w->out)
                memcpy(w->out + (size_t)(w->row_position * size + (from - begin)), p + (size_t)(from - at), (size_t)(to - from));
            if (w->is_bool && p[from - at] > 1 && w->bad_bool == UINT64_MAX)
                w->bad_bool = from;
            if (begin + size > end)
                return;
        }
        return;
    }
    from = w->from > at ? w->from : at;
    to = less(w->to, end);
    if (from >= to)
        return;
    p += (size_t)(from - at);
    n = (size_t)(to - from);
    if (w->out)
        memcpy(w->out + (size_t)(from - w->from), p, n);
    if (w->is_bool)
        walk_bools(w, from, p, n);
    if (t->dtype_class == CAIRN_PACKED && t->elements % t->group_elements && to > t->offset + t->extent - size)
        walk_tail(w, from, p, n);
}

/* Bytes from..to of a buffer, given to w, which may be NULL; their CRC comes back. */
static int run(const cairn *c, uint32_t b, uint64_t from, uint64_t to, walk *w, uint32_t *crc, cairn_fault *f)
{
    uint8_t room[CHUNK];
    const uint8_t *p;
    *crc = 0;
    while (from < to) {
        size_t n = piece(c, to - from);
        if (file_at(c, buffer_begin(c, b) + from, n, room, &p, f))
            return 1;
        if (!w || !w->trusted)
            *crc = crc_more(c, *crc, p, n);
        if (w)
            walk_take(w, from, p, n);
        from += n;
    }
    return 0;
}

static int walk_run(const cairn *c, walk *w, cairn_fault *f)
{
    const cairn_tensor *t = w->t;
    uint32_t b = t->buffer, crc;
    uint64_t at = w->from, length = buffer_length(c, b), begin = buffer_begin(c, b);
    while (at < w->to && !w->done) {
        uint64_t number = at >> c->log2, from = number << c->log2, next = less(from + ((uint64_t)1 << c->log2), length);
        if (run(c, b, w->trusted ? at : from, w->trusted ? less(next, w->to) : next, w, &crc, f))
            return 1;
        if (!w->trusted && crc != u32_at(c->index + buffer_crcs(c, b) + (size_t)number * 4))
            return fail(f, CAIRN_E_BLOCK_CRC, begin + from);
        at = next;
        if (w->gather && !w->done && t->offset + w->position * t->group_bytes > at)
            at = t->offset + w->position * t->group_bytes;
    }
    if (w->bad_tail != UINT64_MAX)
        return fail(f, CAIRN_E_TAIL_BITS, begin + w->bad_tail);
    if (w->bad_bool != UINT64_MAX)
        return fail(f, CAIRN_E_BOOL_VALUE, begin + w->bad_bool);
    return 0;
}

/* 1 if there is nothing to do: an empty tensor, or a buffer of unknown kind. */
static int no_bytes(const cairn *c, const cairn_tensor *t, cairn_fault *f)
{
    f->code = CAIRN_OK;
    if (t->buffer == CAIRN_NO_BUFFER)
        return 1;
    if (buffer_kind(c, t->buffer) == 0)
        return 0;
    fail(f, CAIRN_E_BUFFER_KIND, c->index_at + c->buffers_at + 16 * (uint64_t)t->buffer + 8);
    return 1;
}

static int take_tensor(const cairn *c, const cairn_tensor *t, uint64_t at, uint64_t n, uint8_t *out, int gather, cairn_fault *f)
{
    walk w;
    if (no_bytes(c, t, f))
        return (int)f->code;
    walk_start(&w, t, at, at + n, out, gather);
    return walk_run(c, &w, f) ? (int)f->code : 0;
}

int cairn_check(const cairn *c, const cairn_tensor *t, cairn_fault *f) { return take_tensor(c, t, 0, t->extent, NULL, 1, f); }

int cairn_read(const cairn *c, const cairn_tensor *t, void *out, size_t n, cairn_fault *f)
{
    if (n != t->bytes)
        return fail(f, CAIRN_E_OUT_OF_RANGE, 0);
    if (take_tensor(c, t, 0, t->extent, (uint8_t *)out, 1, f)) {
        memset(out, 0, n);
        return (int)f->code;
    }
    return 0;
}

int cairn_read_range(const cairn *c, const cairn_tensor *t, uint64_t at, void *out, size_t n, cairn_fault *f)
{
    if (at > t->extent || n > t->extent - at)
        return fail(f, CAIRN_E_OUT_OF_RANGE, 0);
    if (take_tensor(c, t, at, n, (uint8_t *)out, 0, f)) {
        if (n)
            memset(out, 0, n);
        return (int)f->code;
    }
    return 0;
}

int cairn_pointer(const cairn *c, const cairn_tensor *t, const uint8_t **bytes, cairn_fault *f)
{
    *bytes = NULL;
    if (!c->map)
        return fail(f, CAIRN_E_WRONG_TYPE, 0);
    if (take_tensor(c, t, 0, t->extent, NULL, 0, f))
        return (int)f->code;
    if (t->buffer != CAIRN_NO_BUFFER)
        *bytes = c->map + (buffer_begin(c, t->buffer) + t->offset);
    return 0;
}

/* ---- blocks ---- */

uint32_t cairn_block_count(const cairn *c) { return c->n_blocks; }

int cairn_block(const cairn *c, uint32_t number, uint64_t *at, uint32_t *length, const uint8_t **bytes, cairn_fault *f)
{
    uint32_t low = 0, high = c->n_buffers, crc, place;
    uint64_t from, to;
    *bytes = NULL;
    if (number >= c->n_blocks)
        return fail(f, CAIRN_E_OUT_OF_RANGE, 0);
    place = c->crcs_at + 4 * number;
    while (high - low > 1) {                /* the last buffer whose CRCs begin at or before this one: it is not empty */
        uint32_t mid = low + (high - low) / 2;
        if (buffer_crcs(c, mid) <= place)
            low = mid;
        else
            high = mid;
    }
    while (buffer_length(c, low) == 0)      /* empty buffers at the end of the table stand at the same place */
        low--;
    from = (uint64_t)((place - buffer_crcs(c, low)) / 4) << c->log2;
    to = less(from + ((uint64_t)1 << c->log2), buffer_length(c, low));
    *at = buffer_begin(c, low) + from;
    *length = (uint32_t)(to - from);
    if (run(c, low, from, to, NULL, &crc, f))
        return (int)f->code;
    if (crc != u32_at(c->index + place))
        return fail(f, CAIRN_E_BLOCK_CRC, *at);
    if (c->map)
        *bytes = c->map + *at;
    return 0;
}

/* ---- verifying (§12.4) ---- */

static int check_trailer(const cairn *c, cairn_fault *f)
{
    uint8_t room[64];
    const uint8_t *h;
    uint64_t at = c->size - 64;
    if (file_at(c, at, 64, room, &h, f) || check_head(c, h, at, 1, CAIRN_E_TRAILER_MAGIC, CAIRN_E_TRAILER_CRC, f))
        return 1;
    if (h[10] & 1)
        return fail(f, CAIRN_E_TRAILER_MISMATCH, at + 10);
    if (h[12] != c->log2)
        return fail(f, CAIRN_E_TRAILER_MISMATCH, at + 12);
    if (u64_at(h + 16) != c->size)
        return fail(f, CAIRN_E_TRAILER_MISMATCH, at + 16);
    if (u64_at(h + 24) != c->second_at)
        return fail(f, CAIRN_E_TRAILER_MISMATCH, at + 24);
    if (u64_at(h + 32) != c->index_length)
        return fail(f, CAIRN_E_TRAILER_MISMATCH, at + 32);
    if (u32_at(h + 40) != c->index_crc)
        return fail(f, CAIRN_E_TRAILER_MISMATCH, at + 40);
    return 0;
}

static int check_second(const cairn *c, cairn_fault *f)
{
    uint8_t room[CHUNK];
    const uint8_t *p;
    uint32_t at = 0, crc = 0, different = MARK;
    while (at < c->index_length) {
        size_t n = piece(c, c->index_length - at), k;
        if (file_at(c, c->second_at + at, n, room, &p, f))
            return 1;
        crc = crc_more(c, crc, p, n);
        if (different == MARK && memcmp(p, c->index + at, n) != 0) {
            for (k = 0; p[k] == c->index[at + k]; k++)
                ;
            different = at + (uint32_t)k;
        }
        at += (uint32_t)n;
    }
    if (crc != c->index_crc)
        return fail(f, CAIRN_E_INDEX_CRC, c->second_at);
    if (different != MARK)
        return fail(f, CAIRN_E_INDEX_COPY, c->second_at + different);
    return 0;
}

/* Padding is shorter than CHUNK: no part is aligned to more. */
static int check_padding(const cairn *c, uint64_t from, uint64_t to, cairn_fault *f)
{
    uint8_t room[CHUNK];
    const uint8_t *p;
    size_t n = (size_t)(to - from), bad;
    if (n == 0)
        return 0;
    if (file_at(c, from, n, room, &p, f))
        return 1;
    if ((bad = not_zero(p, 0, n)) < n)
        return fail(f, CAIRN_E_PADDING, from + bad);
    return 0;
}

static int check_all_padding(const cairn *c, cairn_fault *f)
{
    uint64_t end = 64;
    uint32_t b;
    if (!c->streamed)
        end += c->index_length;
    for (b = 0; b < c->n_buffers; b++) {
        if (check_padding(c, end, buffer_begin(c, b), f))
            return 1;
        end = buffer_begin(c, b) + buffer_length(c, b);
    }
    return check_padding(c, end, c->second_at, f) || check_padding(c, c->second_at + c->index_length, c->size - 64, f);
}

/* Dense bool tensors may overlap: the bytes of a buffer that any of them covers are looked at once. The bad byte found last is reported with the
 * first tensor that holds it. */
static int check_dense_bools(const cairn *c, uint32_t *number, cairn_fault *f)
{
    size_t j, first = 0;
    uint64_t done = 0;
    uint32_t buffer = CAIRN_NO_BUFFER;
    cairn_tensor t;
    for (j = 0; j < c->n_views; j++) {
        walk w;
        uint64_t end;
        tensor_fill(c, c->views[j], &t);
        if (t.buffer != buffer) {
            buffer = t.buffer;
            first = j;
            done = 0;
        }
        if (buffer_kind(c, buffer) != 0 || !t.dense || t.dtype_length != 4 || memcmp(t.dtype, "bool", 4) != 0)
            continue;
        end = t.offset + t.extent;
        if (end <= done)
            continue;
        walk_start(&w, &t, (done > t.offset ? done : t.offset) - t.offset, t.extent, NULL, 0);
        w.trusted = 1;
        done = end;
        if (walk_run(c, &w, f)) {
            *number = t.number;
            if (f->code == CAIRN_E_BOOL_VALUE)
                for (; first < c->n_views; first++) {
                    tensor_fill(c, c->views[first], &t);
                    if (t.buffer != buffer)
                        break;
                    if (t.number < *number && t.dense && t.dtype_length == 4 && memcmp(t.dtype, "bool", 4) == 0 && t.offset <= w.bad_bool
                        && w.bad_bool - t.offset < t.extent)
                        *number = t.number;
                }
            return 1;
        }
    }
    return 0;
}

static int check_elements(const cairn *c, cairn_fault *f)
{
    uint32_t k, end = c->n_tensors;
    cairn_fault bools = {CAIRN_OK, (enum cairn_class)0, 0};
    cairn_tensor t;
    if (check_dense_bools(c, &end, &bools) && bools.code == CAIRN_E_IO) {
        *f = bools;
        return 1;
    }
    for (k = 0; k < end; k++) {
        int tail;
        walk w;
        tensor_fill(c, k, &t);
        if (t.buffer == CAIRN_NO_BUFFER || buffer_kind(c, t.buffer) != 0)
            continue;
        tail = t.dtype_class == CAIRN_PACKED && t.elements % t.group_elements != 0;
        if (!tail && (t.dense || t.dtype_length != 4 || memcmp(t.dtype, "bool", 4) != 0))
            continue;
        walk_start(&w, &t, tail ? t.extent - t.group_bytes : 0, t.extent, NULL, 1);
        w.trusted = 1;
        if (walk_run(c, &w, f))
            return 1;
    }
    if (bools.code != CAIRN_OK) {
        *f = bools;
        return 1;
    }
    return 0;
}

int cairn_verify(const cairn *c, cairn_fault *f)
{
    uint32_t k, crc, number = 0;
    uint64_t from, to;
    cairn_tensor t;
    if (!c->streamed && (check_trailer(c, f) || check_second(c, f)))                        /* 1, 2 */
        return (int)f->code;
    if (check_all_padding(c, f))                                                            /* 3 */
        return (int)f->code;
    for (k = 0; k < c->n_buffers; k++)                                                      /* 4 */
        for (from = 0; from < buffer_length(c, k); from = to, number++) {
            to = less(from + ((uint64_t)1 << c->log2), buffer_length(c, k));
            if (run(c, k, from, to, NULL, &crc, f))
                return (int)f->code;
            if (crc != u32_at(c->index + c->crcs_at + (size_t)number * 4))
                return fail(f, CAIRN_E_BLOCK_CRC, buffer_begin(c, k) + from);
        }
    if (check_elements(c, f))                                                               /* 5 */
        return (int)f->code;
    for (k = 0; k < c->n_tensors; k++) {                                                    /* 6 */
        tensor_fill(c, k, &t);
        if (no_bytes(c, &t, f) && f->code != CAIRN_OK)
            return (int)f->code;
    }
    return 0;
}
