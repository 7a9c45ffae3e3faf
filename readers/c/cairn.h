/* cairn.h: a reader of the Cairn file format, version 1 (SPEC.md of this repository). C99, no dependency, no allocation.
 *
 * Written from SPEC.md alone. Section numbers in brackets are those of SPEC.md.
 *
 *     cairn c; cairn_fault f;
 *     cairn_from_memory(&c, bytes, length);               or cairn_from_callback(&c, read, ctx, length)
 *     if (cairn_begin(&c, &f)) ...                        header; now the length of the index is known
 *     uint32_t *work = malloc(cairn_words(&c) * 4);       the only memory; it must outlive c
 *     if (cairn_open(&c, work, cairn_words(&c), &f)) ...  all rules of level O
 *
 * All functions that judge return CAIRN_OK (0) or a code, and fill *fault (which may not be NULL) if they do not return CAIRN_OK.
 * After cairn_open the structure is only read: threads may share it, if the callback permits that.
 * A file that is mapped and changes while it is read is outside this contract (§17).
 */
#ifndef CAIRN_H
#define CAIRN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* §15: classes and codes */
enum cairn_class {
    CAIRN_TRUNCATED = 1, CAIRN_MALFORMED, CAIRN_CORRUPT, CAIRN_INVALID, CAIRN_UNSUPPORTED, CAIRN_LIMIT, CAIRN_IO_ERROR, CAIRN_USAGE
};

#define CAIRN_CODES(X) \
    X(TOO_SHORT, "too-short", TRUNCATED, "6.1") \
    X(MAGIC, "magic", MALFORMED, "6.1") \
    X(HEADER_CRC, "header-crc", CORRUPT, "6.2") \
    X(VERSION, "version", UNSUPPORTED, "6.3") \
    X(FLAGS, "flags", UNSUPPORTED, "6.4") \
    X(RESERVED, "reserved", UNSUPPORTED, "6.5") \
    X(ROLE, "role", MALFORMED, "6.4") \
    X(BLOCK_SIZE, "block-size", MALFORMED, "6.6") \
    X(STREAMED_FIELDS, "streamed-fields", MALFORMED, "6.7") \
    X(FILE_LENGTH, "file-length", MALFORMED, "6.8") \
    X(FILE_TRUNCATED, "truncated", TRUNCATED, "6.8") \
    X(TRAILING_BYTES, "trailing-bytes", MALFORMED, "6.8") \
    X(TRAILER_MISSING, "trailer-missing", TRUNCATED, "6.9") \
    X(TRAILER_MAGIC, "trailer-magic", CORRUPT, "6.9") \
    X(TRAILER_CRC, "trailer-crc", CORRUPT, "6.9") \
    X(TRAILER_MISMATCH, "trailer-mismatch", MALFORMED, "6.9") \
    X(INDEX_LIMIT, "index-limit", LIMIT, "6.10") \
    X(INDEX_LENGTH, "index-length", MALFORMED, "6.10") \
    X(INDEX_OFFSET, "index-offset", MALFORMED, "6.11") \
    X(INDEX_CRC, "index-crc", CORRUPT, "11.2") \
    X(INDEX_COPY, "index-copy", MALFORMED, "5.3") \
    X(FILE_LAYOUT, "file-layout", MALFORMED, "5.2") \
    X(INDEX_SHORT, "index-short", MALFORMED, "7.1") \
    X(INDEX_LONG, "index-long", MALFORMED, "7.1") \
    X(EXTENSION_ORDER, "extension-order", MALFORMED, "7.2") \
    X(EXTENSION_PADDING, "extension-padding", MALFORMED, "7.2") \
    X(EXTENSION_UNKNOWN, "extension-unknown", UNSUPPORTED, "7.2") \
    X(DTYPE_NAME, "dtype-name", MALFORMED, "7.3") \
    X(DTYPE_CLASS, "dtype-class", MALFORMED, "7.3") \
    X(DTYPE_GEOMETRY, "dtype-geometry", MALFORMED, "7.3") \
    X(DTYPE_REGISTERED, "dtype-registered", INVALID, "7.3") \
    X(DTYPE_DUPLICATE, "dtype-duplicate", INVALID, "7.3") \
    X(DTYPE_ORDER, "dtype-order", INVALID, "7.3") \
    X(BUFFER_LENGTH, "buffer-length", MALFORMED, "7.4") \
    X(BUFFER_OWNER, "buffer-owner", INVALID, "7.4") \
    X(BUFFER_ORDER, "buffer-order", INVALID, "7.4") \
    X(BUFFER_UNUSED, "buffer-unused", INVALID, "7.4") \
    X(BUFFER_VIEWED, "buffer-viewed", INVALID, "7.4") \
    X(BUFFER_KIND, "buffer-kind", UNSUPPORTED, "7.4") \
    X(TENSOR_DTYPE, "tensor-dtype", MALFORMED, "7.6") \
    X(TENSOR_BUFFER, "tensor-buffer", MALFORMED, "7.6") \
    X(TENSOR_RANK, "tensor-rank", LIMIT, "7.6") \
    X(TENSOR_FLAGS, "tensor-flags", MALFORMED, "7.6") \
    X(TENSOR_SIZE, "tensor-size", LIMIT, "7.6") \
    X(TENSOR_GROUPS, "tensor-groups", INVALID, "7.6") \
    X(TENSOR_OFFSET, "tensor-offset", INVALID, "7.6") \
    X(TENSOR_STRIDES, "tensor-strides", INVALID, "7.7") \
    X(TENSOR_EXTENT, "tensor-extent", INVALID, "7.6") \
    X(TENSOR_DUPLICATE, "tensor-duplicate", INVALID, "7.6") \
    X(TENSOR_ORDER, "tensor-order", INVALID, "7.6") \
    X(VIEW_COVER, "view-cover", INVALID, "7.8") \
    X(VIEW_PARTIAL, "view-partial", INVALID, "7.8") \
    X(VALUE_TAG, "value-tag", MALFORMED, "9.1") \
    X(VALUE_LENGTH, "value-length", MALFORMED, "9.3") \
    X(VALUE_UTF8, "value-utf8", MALFORMED, "9.2") \
    X(VALUE_BIGINT, "value-bigint", MALFORMED, "9.2") \
    X(BIGINT_LIMIT, "bigint-limit", LIMIT, "9.2") \
    X(BYTES_LIMIT, "bytes-limit", LIMIT, "9.2") \
    X(DEPTH_LIMIT, "depth-limit", LIMIT, "9.3") \
    X(KEY_TAG, "key-tag", MALFORMED, "9.4") \
    X(KEY_DUPLICATE, "key-duplicate", INVALID, "9.4") \
    X(PATH_LIMIT, "path-limit", LIMIT, "9.4") \
    X(NAMED_NAME, "named-name", MALFORMED, "9.5") \
    X(NAMED_BYTES, "named-bytes", INVALID, "9.5") \
    X(TENSOR_REFERENCE, "tensor-reference", MALFORMED, "9.6") \
    X(METADATA, "metadata", INVALID, "7.9") \
    X(PADDING, "padding", CORRUPT, "5.2") \
    X(BLOCK_CRC, "block-crc", CORRUPT, "8.2") \
    X(TAIL_BITS, "tail-bits", INVALID, "8.3") \
    X(BOOL_VALUE, "bool-value", INVALID, "8.3") \
    X(BUDGET, "budget", LIMIT, "16") \
    X(HOST_SIZE, "host-size", LIMIT, "18") \
    X(IO, "io", IO_ERROR, "15") \
    X(ADDRESS, "address", USAGE, "9.7") \
    X(NOT_FOUND, "not-found", USAGE, "9.7") \
    X(WRONG_TYPE, "wrong-type", USAGE, "15") \
    X(OUT_OF_RANGE, "out-of-range", USAGE, "15")

enum cairn_code {
    CAIRN_OK = 0,
#define X(name, text, cls, section) CAIRN_E_##name,
    CAIRN_CODES(X)
#undef X
    CAIRN_CODE_COUNT
};

typedef struct cairn_fault {
    enum cairn_code code;
    enum cairn_class cls;
    uint64_t offset;            /* in the file, of the first byte concerned; 0 for class usage */
} cairn_fault;

const char *cairn_code_name(enum cairn_code code);
enum cairn_class cairn_class_of(enum cairn_code code);
const char *cairn_class_name(enum cairn_class cls);
const char *cairn_section(enum cairn_code code);

/* Copies n bytes from `offset` on to `out`; 0 if all were copied. It is only asked for bytes below the length it was given. */
typedef int (*cairn_read_fn)(void *ctx, uint64_t offset, void *out, size_t n);

/* Private: read it only through the functions. */
typedef struct cairn {
    const uint8_t *map;
    cairn_read_fn read;
    void *ctx;
    uint64_t size;
    const uint32_t *known;              /* extension tags that the caller understands */
    size_t n_known;
    uint64_t index_at, second_at;
    const uint8_t *index;
    uint32_t index_length, index_crc;
    unsigned streamed, log2;
    uint32_t *work;
    size_t words, used;
    uint32_t n_extensions, n_dtypes, n_buffers, n_tensors, n_views, n_blocks;
    uint32_t *extensions;               /* tags */
    uint32_t *dtypes;                   /* places of the records */
    uint32_t *buffers;                  /* three words each: begin (low, high), place of the CRCs + bit 31: two or more views */
    uint32_t *tensors;                  /* places of the records + bit 31: stands under named("bytes") */
    uint32_t *views;                    /* numbers of the tensors that have bytes, by buffer and offset */
    uint32_t buffers_at, crcs_at, metadata_at, root_at;
    uint32_t crc[8][256];
} cairn;

/* ---- opening (§12.2) ---- */

void cairn_from_memory(cairn *c, const void *bytes, size_t length);
void cairn_from_callback(cairn *c, cairn_read_fn read, void *ctx, uint64_t length);
/* Optional, before cairn_open: tags of extensions that the caller understands (§7.2). They must outlive cairn_open. */
void cairn_understand(cairn *c, const uint32_t *tags, size_t count);
/* Steps 1 to 8. */
int cairn_begin(cairn *c, cairn_fault *fault);
/* Words of 32 bits that cairn_open needs, known after cairn_begin. With n the index length:
 * 3 × (n / 16 + 1), which is about 3/4 n bytes; through a callback ceil(n / 4) words more, for the index itself. */
size_t cairn_words(const cairn *c);
uint32_t cairn_index_length(const cairn *c);
/* Steps 9 to 19; [budget] if `words` is less than cairn_words(c). */
int cairn_open(cairn *c, uint32_t *work, size_t words, cairn_fault *fault);

/* ---- verifying (§12.4) ---- */

/* All rules of level V. Reports the first broken one. */
int cairn_verify(const cairn *c, cairn_fault *fault);

/* ---- values (§9): a cursor over the index, no tree ---- */

enum cairn_tag {
    CAIRN_NULL = 1, CAIRN_FALSE, CAIRN_TRUE, CAIRN_INT, CAIRN_BIG_INT, CAIRN_FLOAT, CAIRN_COMPLEX, CAIRN_STR, CAIRN_BYTES, CAIRN_LIST,
    CAIRN_TUPLE, CAIRN_DICT, CAIRN_NAMED, CAIRN_TENSOR
};

typedef struct cairn_value {
    enum cairn_tag tag;
    uint32_t count;             /* list, tuple: items; dict: pairs; named: 1; tensor: its number */
    uint32_t length;            /* of `bytes` */
    const uint8_t *bytes;       /* big int (two's complement, little-endian), str, bytes, name of a named value: in the index, no NUL at the end */
    uint64_t bits[2];           /* int: two's complement; float: [0]; complex: real, imaginary */
    uint32_t inside, after;     /* private */
} cairn_value;

typedef struct cairn_cursor {   /* private */
    uint32_t at, left;
    enum cairn_tag in;
} cairn_cursor;

void cairn_metadata(const cairn *c, cairn_value *value);
void cairn_root(const cairn *c, cairn_value *value);
/* A cursor before the first child of a list, tuple, dict or named value. Any other value has no children. */
void cairn_enter(const cairn_value *value, cairn_cursor *cursor);
/* 1 and the next child, or 0 if there is none. `key` (may be NULL) is filled if the cursor is in a dict. */
int cairn_next(const cairn *c, cairn_cursor *cursor, cairn_value *key, cairn_value *value);
/* Steps over up to n children and returns how many. */
uint32_t cairn_skip(const cairn *c, cairn_cursor *cursor, uint32_t n);
/* The value at an address (§9.7) of n bytes: [address], [not-found]. */
int cairn_at(const cairn *c, const char *address, size_t n, cairn_value *value, cairn_fault *fault);

/* ---- tensors (§7.6) ---- */

enum cairn_dtype_class { CAIRN_SCALAR, CAIRN_PACKED, CAIRN_BLOCK };
#define CAIRN_NO_BUFFER 0xFFFFFFFFu

typedef struct cairn_tensor {
    uint32_t number;
    uint32_t buffer;                    /* or CAIRN_NO_BUFFER: empty */
    uint64_t offset;                    /* in the buffer */
    const uint8_t *dtype;               /* name, no NUL at the end */
    unsigned dtype_length;
    enum cairn_dtype_class dtype_class;
    uint32_t group_elements, group_bytes;
    unsigned rank;
    int has_strides, dense;
    const uint8_t *shape, *strides;     /* read them with cairn_axis */
    uint64_t elements;                  /* 0 if empty */
    uint64_t bytes;                     /* byte length: what cairn_read gives */
    uint64_t extent;                    /* bytes from the first to the end of the last element */
} cairn_tensor;

uint32_t cairn_tensor_count(const cairn *c);
int cairn_tensor_get(const cairn *c, uint32_t number, cairn_tensor *t, cairn_fault *fault);
/* The tensor at an address; steps through named values. [address], [not-found], [wrong-type] */
int cairn_tensor_at(const cairn *c, const char *address, size_t n, cairn_tensor *t, cairn_fault *fault);
/* Entry `axis` of t->shape or t->strides. */
uint64_t cairn_axis(const uint8_t *list, unsigned axis);

/* These four check, for the bytes concerned: [buffer-kind], [block-crc], [tail-bits], [bool-value]. */
/* All elements; nothing is handed out. */
int cairn_check(const cairn *c, const cairn_tensor *t, cairn_fault *fault);
/* The elements in row-major order (packed and block: the bytes as stored); n must be t->bytes. Zeros if it fails. */
int cairn_read(const cairn *c, const cairn_tensor *t, void *out, size_t n, cairn_fault *fault);
/* Bytes at..at+n of the extent, as they lie in the buffer. Zeros if it fails. */
int cairn_read_range(const cairn *c, const cairn_tensor *t, uint64_t at, void *out, size_t n, cairn_fault *fault);
/* The extent where it lies, t->extent bytes; only from memory [wrong-type]. NULL and CAIRN_OK if the tensor is empty. */
int cairn_pointer(const cairn *c, const cairn_tensor *t, const uint8_t **bytes, cairn_fault *fault);

/* ---- blocks (§8) ---- */

/* Blocks of the file, numbered through it. */
uint32_t cairn_block_count(const cairn *c);
/* Checks block `number` and gives its place in the file and, from memory, a pointer to it (else NULL). */
int cairn_block(const cairn *c, uint32_t number, uint64_t *at, uint32_t *length, const uint8_t **bytes, cairn_fault *fault);

#ifdef __cplusplus
}
#endif
#endif
