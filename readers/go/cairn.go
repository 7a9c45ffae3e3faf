// Package cairn reads files of the Cairn format, version 1: one tree of lists, tuples, dicts, numbers, strings, bytes and tensors a file.
// It was written from SPEC.md alone, uses the standard library only and is a verifier in the sense of SPEC §1.
//
// Open checks every rule that the index decides (level O). A tensor's bytes are checked when they are taken, the whole file by Verify
// (level V). No input makes the package panic; memory is asked for only in proportion to bytes that are there.
package cairn

import (
	"hash/crc32"
	"io"
	"math"
	"os"
	"strings"
	"sync/atomic"
)

const (
	magic        = "\x89CAIRN\r\n"
	structLength = 64
	maxLength    = math.MaxInt64 // 2^63-1
	maxIndex     = 1<<29 - 8
	leastIndex   = 26
	leastFile    = 192
	largeBuffer  = 65536
	maxRank      = 64
	maxDepth     = 128
	maxPath      = 4096
	maxBytes     = 65536
	maxBigInt    = 8192
	noBuffer     = 0xFFFFFFFF
)

// Limits are what a caller allows beyond the limits of the format. The zero value allows all of the format, and 1 TiB a tensor.
type Limits struct {
	Index  int64 // longest index, in bytes
	Tensor int64 // most bytes that one call may copy out of a tensor
	Copied int64 // most bytes that all calls together may copy out of tensors
}

// A File is an open Cairn file. Its methods may be called from several goroutines. Nothing in it changes after Open.
type File struct {
	r       io.ReaderAt
	closer  io.Closer
	now     func() (int64, error) // length of the file now; nil where that cannot be asked
	limits  Limits
	copied  atomic.Int64
	size    int64
	head    structure // of the header
	tail    structure // of the trailer, streamed files only
	at      int64     // offset of the index that was read
	index   string    // that index
	tags    []uint32  // of the extensions
	dtypes  []DType
	buffers []buffer
	records []uint32 // where each tensor's record begins in the index
	second  int64    // where the second index (streamed: the only index) begins
	meta    int      // where the metadata begins in the index
	root    int      // where the root begins in the index
}

type buffer struct {
	start, length uint64
	kind, owner   uint32
	views         uint32 // how many tensors view it
	crcs          uint32 // where its block CRCs begin in the index
}

func (b *buffer) end() uint64 { return b.start + b.length }

// A structure is a header or trailer (SPEC §6).
type structure struct {
	streamed                             bool
	log2                                 uint8
	fileLength, indexOffset, indexLength uint64
	indexCRC                             uint32
}

// Open opens the Cairn file of the given length in r and checks every rule of level O. The caller keeps r open while the File is in use.
func Open(r io.ReaderAt, size int64) (*File, error) { return OpenLimited(r, size, Limits{}) }

// OpenFile opens the Cairn file at path. Close closes it.
func OpenFile(path string) (*File, error) {
	h, err := os.Open(path)
	if err != nil {
		return nil, &Error{Code: HostIO, Offset: -1, Err: err}
	}
	info, err := h.Stat()
	if err != nil {
		h.Close()
		return nil, &Error{Code: HostIO, Offset: -1, Err: err}
	}
	if !info.Mode().IsRegular() {
		h.Close()
		return nil, refuse(HostIO, -1, "%s is not a regular file", path)
	}
	f, err := Open(h, info.Size())
	if err != nil {
		h.Close()
		return nil, err
	}
	f.closer = h
	return f, nil
}

// OpenLimited is Open with limits of the caller.
func OpenLimited(r io.ReaderAt, size int64, limits Limits) (*File, error) {
	if limits.Index <= 0 {
		limits.Index = maxIndex
	}
	if limits.Tensor <= 0 {
		limits.Tensor = 1 << 40
	}
	f := &File{r: r, size: size, limits: limits}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// Close closes the file that OpenFile opened. It does nothing to the r of Open.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// Streamed reports whether the file has the streamed layout.
func (f *File) Streamed() bool { return f.head.streamed }

// BlockLength returns the length of a full block.
func (f *File) BlockLength() int64 { return 1 << f.head.log2 }

// Root returns the root of the tree.
func (f *File) Root() Value { return Value{f, f.root} }

// Metadata returns the metadata, a dict with str keys and without tensors.
func (f *File) Metadata() Value { return Value{f, f.meta} }

// readAt fills p from offset off, or refuses.
func (f *File) readAt(p []byte, off int64) *Error {
	n, err := f.r.ReadAt(p, off)
	if f.now != nil {
		if size, err := f.now(); err != nil {
			return &Error{Code: HostIO, Offset: off, Err: err}
		} else if size != f.size {
			return refuse(FileChanged, -1, "%d bytes at open, %d now", f.size, size)
		}
	}
	if n == len(p) {
		return nil // also with io.EOF: a ReaderAt may say so at the end
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return &Error{Code: HostIO, Offset: off + int64(n), Err: err}
}

// watch finds out how the length of r can be asked for, so that a change can be refused (SPEC §17).
func (f *File) watch() {
	var now func() (int64, error)
	switch r := f.r.(type) {
	case interface{ Stat() (os.FileInfo, error) }:
		now = func() (int64, error) {
			info, err := r.Stat()
			if err != nil {
				return 0, err
			}
			return info.Size(), nil
		}
	case interface{ Size() int64 }:
		now = func() (int64, error) { return r.Size(), nil }
	default:
		return
	}
	if size, err := now(); err == nil && size == f.size {
		f.now = now
	}
}

// open follows the steps of SPEC §12.2.
func (f *File) open() error {
	if f.size < 0 {
		return refuse(HostIO, -1, "negative length")
	}
	f.watch()
	var first [structLength]byte // step 1
	n := f.size
	if n > structLength {
		n = structLength
	}
	if err := f.readAt(first[:n], 0); err != nil {
		return err
	}
	if begin := string(first[:n]); n >= 8 && begin[:8] != magic || n < 8 && !strings.HasPrefix(magic, begin) {
		return refuse(Magic, 0, "")
	}
	if n < structLength {
		return refuse(TooShort, 0, "%d bytes", n)
	}
	var err *Error
	if f.head, err = parseStructure(first[:], 0, false); err != nil { // steps 2 to 7
		return err
	}
	stated, where := f.head, int64(0) // step 8
	if f.head.streamed {
		for i := 16; i < 44; i++ {
			if first[i] != 0 {
				return refuse(StreamedFields, int64(i), "")
			}
		}
		where = f.size - structLength
		if f.size < 2*structLength {
			return refuse(TrailerMissing, f.size, "%d bytes", f.size)
		}
		var last [structLength]byte
		if err := f.readAt(last[:], where); err != nil {
			return err
		}
		if string(last[:8]) != magic {
			return refuse(TrailerMissing, where, "")
		}
		if f.tail, err = parseStructure(last[:], where, true); err != nil {
			return err
		}
		if f.tail.streamed != f.head.streamed {
			return refuse(TrailerMismatch, where+10, "streamed flag")
		}
		if f.tail.log2 != f.head.log2 {
			return refuse(TrailerMismatch, where+12, "block size")
		}
		stated = f.tail
	}
	switch size := uint64(f.size); {
	case stated.fileLength < leastFile || stated.fileLength > maxLength:
		return refuse(FileLength, where+16, "%d", stated.fileLength)
	case size < stated.fileLength:
		return refuse(FileTruncated, f.size, "%d of %d bytes", size, stated.fileLength)
	case size > stated.fileLength:
		return refuse(TrailingBytes, int64(stated.fileLength), "%d bytes after the end", size-stated.fileLength)
	case stated.indexLength > maxIndex:
		return refuse(IndexLimit, where+32, "%d", stated.indexLength)
	case stated.indexOffset < structLength || !f.head.streamed && stated.indexOffset != structLength:
		return refuse(IndexOffset, where+24, "%d", stated.indexOffset)
	case stated.indexLength < leastIndex:
		return refuse(IndexLength, where+32, "%d", stated.indexLength)
	case stated.indexOffset > size || align(stated.indexOffset+stated.indexLength, 64) > size-structLength:
		return refuse(IndexLength, where+32, "does not fit into the file")
	case stated.indexLength > uint64(f.limits.Index):
		return refuse(Budget, where+32, "index of %d bytes", stated.indexLength)
	}
	f.at = int64(stated.indexOffset) // step 9
	var text strings.Builder
	text.Grow(int(stated.indexLength))
	sum := crc32.NewIEEE()
	chunk := make([]byte, min64(int64(stated.indexLength), 64<<10))
	for left := int64(stated.indexLength); left > 0; left -= int64(len(chunk)) {
		chunk = chunk[:min64(left, int64(len(chunk)))]
		if err := f.readAt(chunk, f.at+int64(text.Len())); err != nil {
			return err
		}
		sum.Write(chunk)
		text.Write(chunk)
	}
	if sum.Sum32() != stated.indexCRC {
		return refuse(IndexCRC, f.at, "")
	}
	f.index = text.String()
	if err := f.readIndex(); err != nil { // steps 10 to 19
		return err
	}
	return nil
}

// parseStructure checks 64 bytes that begin with the magic by steps 2 to 7 of SPEC §12.2. at is their offset.
func parseStructure(b []byte, at int64, trailer bool) (s structure, err *Error) {
	crc, role := HeaderCRC, byte(0)
	if trailer {
		crc, role = TrailerCRC, 2
	}
	t := string(b)
	switch {
	case crc32.ChecksumIEEE(b[:60]) != u32(t, 60):
		return s, refuse(crc, at+60, "")
	case b[8] != 1 || b[9] != 0:
		return s, refuse(Version, at+8, "%d", uint16(b[9])<<8|uint16(b[8]))
	case b[10]&^3 != 0 || b[11] != 0:
		return s, refuse(Flags, at+10, "%#x", uint16(b[11])<<8|uint16(b[10]))
	}
	for i := 13; i < 60; i++ {
		if (i < 16 || i >= 44) && b[i] != 0 {
			return s, refuse(Reserved, at+int64(i), "")
		}
	}
	if b[10]&2 != role {
		return s, refuse(Role, at+10, "")
	}
	if b[12] < 12 || b[12] > 22 {
		return s, refuse(BlockSize, at+12, "2^%d", b[12])
	}
	return structure{b[10]&1 != 0, b[12], u64(t, 16), u64(t, 24), u64(t, 32), u32(t, 40)}, nil
}

// spend counts n bytes about to be copied out of a tensor against the limits.
func (f *File) spend(n int64) *Error {
	if n > f.limits.Tensor {
		return refuse(Budget, -1, "tensor of %d bytes", n)
	}
	if int64(int(n)) != n || n > 1<<46 {
		return refuse(HostSize, -1, "tensor of %d bytes", n)
	}
	if f.limits.Copied <= 0 {
		return nil
	}
	for {
		was := f.copied.Load()
		if n > f.limits.Copied-was {
			return refuse(Budget, -1, "more than %d bytes copied", f.limits.Copied)
		}
		if f.copied.CompareAndSwap(was, was+n) {
			return nil
		}
	}
}

// align rounds x, at most 2^63, up to a multiple of a.
func align(x, a uint64) uint64 { return (x + a - 1) / a * a }

func min64(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

func u32(s string, i int) uint32 {
	_ = s[i+3]
	return uint32(s[i]) | uint32(s[i+1])<<8 | uint32(s[i+2])<<16 | uint32(s[i+3])<<24
}

func u64(s string, i int) uint64 { return uint64(u32(s, i)) | uint64(u32(s, i+4))<<32 }
