package cairn

import (
	"hash/maphash"
	"math/bits"
	"sort"
	"unicode/utf8"
)

// A cursor reads the index. The first fault stays in err; after it every read gives zero.
type cursor struct {
	s    string
	base int64 // offset of s in the file
	pos  int
	end  int  // of the innermost container, or of the index
	code Code // of a field that passes end
	err  *Error
}

// need records the fault code at position pos unless ok, and reports whether there is none so far.
func (c *cursor) need(ok bool, code Code, pos int) bool {
	if !ok && c.err == nil {
		c.err = &Error{Code: code, Offset: c.base + int64(pos)}
	}
	return c.err == nil
}

// fits reports whether a field of n bytes ends in time.
func (c *cursor) fits(n uint64) bool { return c.need(n <= uint64(c.end-c.pos), c.code, c.pos) }

func (c *cursor) take(n uint64) string {
	if !c.fits(n) {
		return ""
	}
	c.pos += int(n)
	return c.s[c.pos-int(n) : c.pos]
}

func (c *cursor) u8() uint8 {
	if !c.fits(1) {
		return 0
	}
	c.pos++
	return c.s[c.pos-1]
}

func (c *cursor) u32() uint32 {
	if !c.fits(4) {
		return 0
	}
	c.pos += 4
	return u32(c.s, c.pos-4)
}

func (c *cursor) u64() uint64 {
	if !c.fits(8) {
		return 0
	}
	c.pos += 8
	return u64(c.s, c.pos-8)
}

// count reads the count of a table whose records have at least least bytes.
func (c *cursor) count(least uint64) int {
	at := c.pos
	n := c.u32()
	if !c.need(uint64(n)*least <= uint64(c.end-c.pos), IndexShort, at) {
		return 0
	}
	return int(n)
}

// readIndex does steps 10 to 19 of SPEC §12.2.
func (f *File) readIndex() *Error {
	c := &cursor{s: f.index, base: f.at, end: len(f.index), code: IndexShort}
	end := uint64(structLength)
	if !f.head.streamed {
		end += uint64(len(f.index))
	}
	f.readExtensions(c)
	f.readDTypes(c)
	end = f.readBuffers(c, end)
	f.readCRCs(c)
	f.readTensors(c)
	if c.err != nil {
		return c.err
	}
	f.second = int64(align(end, 64)) // step 15; below 2^63 if the length is right
	if f.head.streamed && align(end, 64) != f.tail.indexOffset {
		return refuse(IndexOffset, f.size-structLength+24, "%d instead of %d", f.tail.indexOffset, align(end, 64))
	}
	if want := align(align(end, 64)+uint64(len(f.index)), 64) + structLength; want != uint64(f.size) {
		at := int64(16)
		if f.head.streamed {
			at += f.size - structLength
		}
		return refuse(FileLayout, at, "%d bytes instead of %d", f.size, want)
	}
	if err := f.checkViews(); err != nil { // step 16
		return err
	}
	f.meta = c.pos // step 17
	if c.need(c.pos == c.end || c.s[c.pos] == tagDict, Metadata, c.pos) {
		w := walker{cursor: c, f: f, meta: true}
		w.value(1, 0, false)
	}
	f.root = c.pos // step 18
	w := walker{cursor: c, f: f}
	if c.err == nil {
		w.value(1, 0, false)
	}
	c.need(c.pos == len(c.s), IndexLong, c.pos) // step 19
	if c.err == nil && int(w.met) != len(f.records) {
		c.need(false, TensorOrder, int(f.records[w.met]))
	}
	return c.err
}

func (f *File) readExtensions(c *cursor) {
	unknown, last := -1, uint32(0)
	for n := c.count(8); n > 0 && c.err == nil; n-- {
		at := c.pos
		tag, length := c.u32(), c.u32()
		c.take(uint64(length))
		padding := c.take(-uint64(length) % 8)
		for i := 0; i < len(padding); i++ {
			c.need(padding[i] == 0, ExtensionPadding, c.pos-len(padding)+i)
		}
		c.need(tag > last, ExtensionOrder, at)
		last = tag
		f.tags = append(f.tags, tag)
		if tag>>31 != 0 && unknown < 0 {
			unknown = at
		}
	}
	c.need(unknown < 0, ExtensionUnknown, unknown)
}

func (f *File) readDTypes(c *cursor) {
	names := map[string]struct{}{}
	for n := c.count(11); n > 0 && c.err == nil; n-- {
		at := c.pos
		elements, bytes, class := c.u32(), c.u32(), DTypeClass(c.u8())
		name := c.take(uint64(c.u8()))
		d := DType{name, class, elements, bytes}
		c.need(class <= Block, DTypeClassFault, at+8)
		c.need(legalName(name), DTypeName, at+9)
		c.need(bytes >= 1 && bytes <= 65535, DTypeGeometry, at+4)
		switch class {
		case Scalar:
			c.need(elements == 1, DTypeGeometry, at)
		case Packed:
			c.need(elements >= 2 && bytes*8%elements == 0, DTypeGeometry, at)
		case Block:
			c.need(elements >= 2, DTypeGeometry, at)
		}
		known, ok := registry[name]
		c.need(!ok || known == d, DTypeRegistered, at)
		_, ok = names[name]
		c.need(!ok, DTypeDuplicate, at)
		if c.err == nil {
			names[name] = struct{}{}
			f.dtypes = append(f.dtypes, d)
		}
	}
}

// readBuffers places the buffers behind end and returns the end of the last one.
func (f *File) readBuffers(c *cursor, end uint64) uint64 {
	auxiliary := false
	for n := c.count(16); n > 0 && c.err == nil; n-- {
		at := c.pos
		b := buffer{length: c.u64(), kind: c.u32(), owner: c.u32()}
		c.need(b.length >= 1 || b.kind >= 2, BufferLength, at)
		if b.kind == 0 {
			c.need(b.owner == 0, BufferOwner, at+12)
		} else {
			i := sort.Search(len(f.tags), func(i int) bool { return f.tags[i] >= b.owner })
			c.need(i < len(f.tags) && f.tags[i] == b.owner, BufferOwner, at+12)
		}
		c.need(b.kind == 1 || !auxiliary, BufferOrder, at)
		auxiliary = b.kind == 1
		b.start = align(end, 64)
		if b.length >= largeBuffer {
			b.start = align(end, 4096)
		}
		if c.need(b.start <= maxLength && b.length <= maxLength-b.start, BufferLength, at) {
			end = b.end()
			f.buffers = append(f.buffers, b)
		}
	}
	return end
}

// blocks returns the number of blocks of a buffer.
func (f *File) blocks(b *buffer) uint64 {
	n := b.length >> f.head.log2
	if b.length&(1<<f.head.log2-1) != 0 {
		n++
	}
	return n
}

func (f *File) readCRCs(c *cursor) {
	at := c.pos
	for i := range f.buffers {
		b := &f.buffers[i]
		if c.err == nil {
			b.crcs = uint32(c.pos)
			c.take(4 * f.blocks(b)) // at most 4 × 2^51 bytes
		}
	}
	if c.err != nil && c.err.Code == IndexShort && c.err.Offset > c.base+int64(at) {
		c.err.Offset = c.base + int64(at) // the table is one field
	}
}

// A record is one entry of the tensor table (SPEC §7.6), with what follows from it.
type record struct {
	dtype, buffer uint32
	offset        uint64
	rank          int
	flags         uint8
	dims, strides [maxRank]uint64

	n       uint64 // elements, with extents of 0 counted as 1
	length  uint64 // in bytes
	extent  uint64 // in bytes
	empty   bool
	dense   bool
	partial bool
}

// read reads a record but checks only what is needed to find its end.
func (r *record) read(c *cursor) {
	at := c.pos
	if !c.fits(18) {
		return
	}
	r.dtype, r.buffer, r.offset, r.rank, r.flags = c.u32(), c.u32(), c.u64(), int(c.u8()), c.u8()
	if !c.need(r.rank <= maxRank, TensorRank, at+16) || !c.need(r.flags <= 1, TensorFlags, at+17) {
		return
	}
	if !c.fits(uint64(8 * r.rank * (1 + int(r.flags)))) {
		return
	}
	for i := 0; i < r.rank; i++ {
		r.dims[i] = c.u64()
	}
	for i := 0; i < r.rank && r.flags != 0; i++ {
		r.strides[i] = c.u64()
	}
}

// derive computes what follows from the record and its dtype, and returns the code of the first fault in it.
func (r *record) derive(d DType) Code {
	r.n, r.empty, r.dense, r.partial = 1, false, true, false
	for _, e := range r.dims[:r.rank] {
		if e == 0 {
			r.empty, e = true, 1
		}
		high, low := bits.Mul64(r.n, e)
		if high != 0 || low > maxLength {
			return TensorSize
		}
		r.n = low
	}
	groups := (r.n-1)/uint64(d.Elements) + 1
	high, low := bits.Mul64(groups, uint64(d.Bytes))
	if high != 0 || low > maxLength {
		return TensorSize
	}
	r.length, r.extent = low, low
	r.partial = d.Class == Packed && r.n%uint64(d.Elements) != 0
	if d.Class == Block && (r.rank == 0 || r.dims[r.rank-1]%uint64(d.Elements) != 0) {
		return TensorGroups
	}
	if r.flags != 0 {
		if d.Class != Scalar || r.empty {
			return TensorStrides
		}
		last, ok := r.reach()
		if !ok {
			return TensorStrides
		}
		if high, low = bits.Mul64(last+1, uint64(d.Bytes)); high != 0 || low > maxLength {
			return TensorSize
		}
		r.extent = low
	}
	if r.empty {
		r.length, r.extent = 0, 0
	}
	return ""
}

// ascending returns the axes of extent above 1, sorted by stride.
func (r *record) ascending(axes *[maxRank]uint8) []uint8 {
	a := axes[:0]
	for i := 0; i < r.rank; i++ {
		if r.dims[i] > 1 {
			a = append(a, uint8(i))
		}
	}
	for i := range a {
		for k := i; k > 0 && r.strides[a[k-1]] > r.strides[a[k]]; k-- {
			a[k-1], a[k] = a[k], a[k-1]
		}
	}
	return a
}

// reach judges the strides (SPEC §7.7), sets dense and returns the number of the last element, the sum S.
func (r *record) reach() (last uint64, ok bool) {
	rowMajor, row := true, uint64(1)
	for i := r.rank - 1; i >= 0; i-- {
		d, s := r.dims[i], r.strides[i]
		if (d <= 1) != (s == 0) {
			return 0, false
		}
		if d > 1 {
			rowMajor = rowMajor && s == row
			row *= d // at most n
		}
	}
	if rowMajor {
		return 0, false
	}
	var axes [maxRank]uint8
	product := uint64(1)
	for _, i := range r.ascending(&axes) {
		d, s := r.dims[i], r.strides[i]
		if s <= last {
			return 0, false
		}
		r.dense = r.dense && s == product
		product *= d
		high, low := bits.Mul64(d-1, s)
		if high != 0 || low > maxLength-1-last {
			return 0, false
		}
		last += low
	}
	return last, true
}

// parse reads the record of tensor i again, which Open has found good.
func (f *File) parse(i int, r *record) {
	c := cursor{s: f.index, pos: int(f.records[i]), end: len(f.index)}
	r.read(&c)
	r.derive(f.dtypes[r.dtype])
}

// recordBytes returns the bytes of the tensor's record that begins at a position of the index.
func (f *File) recordBytes(at uint32) string {
	return f.index[at : int(at)+18+8*int(f.index[at+16])*(1+int(f.index[at+17]))]
}

// readTensors does step 14 of SPEC §12.2.
func (f *File) readTensors(c *cursor) {
	var r record
	usedDTypes, usedBuffers := 0, 0
	wrongDType, wrongBuffer := -1, -1
	for n := c.count(18); n > 0 && c.err == nil; n-- {
		at := c.pos
		r.read(c)
		if !c.need(int64(r.dtype) < int64(len(f.dtypes)), TensorDType, at) {
			return
		}
		d := f.dtypes[r.dtype]
		if code := r.derive(d); !c.need(code == "", code, at+18) {
			return
		}
		c.need((r.buffer == noBuffer) == r.empty, TensorBuffer, at+4)
		c.need(r.offset%d.Align() == 0 && !(r.empty && r.offset != 0), TensorOffset, at+8)
		if !r.empty && c.need(int64(r.buffer) < int64(len(f.buffers)), TensorBuffer, at+4) {
			b := &f.buffers[r.buffer]
			c.need(b.kind != 1, BufferViewed, at+4)
			c.need(b.kind != 0 || r.extent <= b.length && r.offset <= b.length-r.extent, TensorExtent, at)
			b.views++
			if int(r.buffer) == usedBuffers {
				usedBuffers++
			} else if int(r.buffer) > usedBuffers && wrongBuffer < 0 {
				wrongBuffer = at
			}
		}
		if int(r.dtype) == usedDTypes {
			usedDTypes++
		} else if int(r.dtype) > usedDTypes && wrongDType < 0 {
			wrongDType = at
		}
		f.records = append(f.records, uint32(at))
	}
	if c.err != nil {
		return
	}
	var seen set
	for _, at := range f.records {
		if !c.need(seen.add(at, f.recordBytes), TensorDuplicate, int(at)) {
			return
		}
	}
	c.need(wrongDType < 0, DTypeOrder, wrongDType)
	c.need(usedDTypes == len(f.dtypes), DTypeOrder, 4) // the dtype table; its records are not kept
	c.need(f.head.streamed || wrongBuffer < 0, BufferOrder, wrongBuffer)
	for _, b := range f.buffers {
		c.need(b.views > 0 || b.kind == 1, BufferUnused, int(b.crcs))
	}
}

// checkViews checks SPEC §7.8.
func (f *File) checkViews() *Error {
	order := make([]uint32, 0, len(f.records))
	for i := range f.records {
		if at := int(f.records[i]); u32(f.index, at+4) != noBuffer {
			order = append(order, uint32(i))
		}
	}
	key := func(i int) (uint32, uint64) {
		at := int(f.records[order[i]])
		return u32(f.index, at+4), u64(f.index, at+8)
	}
	sort.Slice(order, func(i, k int) bool {
		bi, oi := key(i)
		bk, ok := key(k)
		return bi < bk || bi == bk && oi < ok
	})
	var r record
	for len(order) > 0 {
		f.parse(int(order[0]), &r)
		b := &f.buffers[r.buffer]
		views := order[:b.views]
		order = order[b.views:]
		if b.kind != 0 {
			continue
		}
		top, partial := uint64(0), -1
		for _, i := range views {
			f.parse(int(i), &r)
			at := f.at + int64(f.records[i])
			if r.dense {
				if r.offset >= top && !(r.offset == 0 && top == 0) {
					return refuse(ViewCover, at, "tensor %d begins at %d, the bytes covered before it end at %d", i, r.offset, top)
				}
				if r.offset+r.extent > top {
					top = r.offset + r.extent
				}
			}
			if r.partial {
				partial = int(i)
			}
		}
		if top != b.length {
			return refuse(ViewCover, f.at+int64(f.records[views[0]]), "%d of %d bytes covered", top, b.length)
		}
		if partial >= 0 && len(views) > 1 {
			return refuse(ViewPartial, f.at+int64(f.records[partial]), "tensor %d", partial)
		}
	}
	return nil
}

const (
	tagNull   = 0x01
	tagFalse  = 0x02
	tagTrue   = 0x03
	tagInt    = 0x04
	tagBigInt = 0x05
	tagFloat  = 0x06
	tagCompl  = 0x07
	tagStr    = 0x08
	tagBytes  = 0x09
	tagList   = 0x0A
	tagTuple  = 0x0B
	tagDict   = 0x0C
	tagNamed  = 0x0D
	tagTensor = 0x0E
)

// A walker checks one value tree (SPEC §12.3).
type walker struct {
	*cursor
	f       *File
	meta    bool
	met     uint32   // tensors 0 to met-1 have appeared
	vectors []uint64 // bit set of the tensors under named("bytes"); nil while there is none
}

// value checks one value. path is what the keys above it take; vector says that it stands under named("bytes").
func (w *walker) value(depth, path int, vector bool) bool {
	at := w.pos
	if !w.need(depth <= maxDepth, DepthLimit, at) {
		return false
	}
	tag := w.u8()
	if !w.need(tag >= tagNull && tag <= tagTensor, ValueTag, at) || !w.need(tag == tagTensor || !vector, NamedBytes, at) {
		return false
	}
	switch tag {
	case tagInt, tagFloat:
		w.take(8)
	case tagCompl:
		w.take(16)
	case tagBigInt:
		n := w.u32()
		w.need(n <= maxBigInt, BigIntLimit, at+1)
		w.need(n >= 9, ValueBigInt, at+1)
		if b := w.take(uint64(n)); w.err == nil {
			last, before := b[n-1], b[n-2]
			w.need(!(last == 0x00 && before < 0x80 || last == 0xFF && before >= 0x80), ValueBigInt, w.pos-1)
		}
	case tagStr:
		s := w.take(uint64(w.u32()))
		w.need(utf8.ValidString(s), ValueUTF8, at+5)
	case tagBytes:
		n := w.u32()
		w.need(n <= maxBytes, BytesLimit, at+1)
		w.take(uint64(n))
	case tagList, tagTuple, tagDict:
		w.container(tag, depth, path)
	case tagNamed:
		n := w.u32()
		w.need(n >= 1 && n <= 255, NamedName, at+1)
		name := w.take(uint64(n))
		return w.need(legalName(name), NamedName, at+5) && w.value(depth+1, path, name == "bytes")
	case tagTensor:
		i := w.u32()
		w.need(!w.meta, Metadata, at)
		if w.err == nil {
			w.leaf(i, vector, at)
		}
	}
	return w.err == nil
}

func (w *walker) container(tag uint8, depth, path int) {
	at := w.pos
	count, n, least := w.u32(), w.u32(), uint64(1)
	if tag == tagDict {
		least = 6
	}
	w.need(uint64(count)*least <= uint64(n), ValueLength, at)
	if w.need(uint64(n) <= uint64(w.end-w.pos), w.code, at+4) {
		end, code := w.end, w.code
		w.end, w.code = w.pos+int(n), ValueLength
		var keys set
		for ; count > 0 && w.err == nil; count-- {
			below := path
			if tag == tagDict {
				below += w.key(depth, path, &keys)
			}
			if w.err == nil {
				w.value(depth+1, below, false)
			}
		}
		w.need(w.pos == w.end, ValueLength, w.pos)
		w.end, w.code = end, code
	}
}

// key checks one key and returns what it counts on its path.
func (w *walker) key(depth, path int, keys *set) int {
	at := w.pos
	tag, n := w.u8(), uint64(8)
	w.need(tag == tagInt || tag == tagStr || tag == tagBytes, KeyTag, at)
	w.need(!w.meta || depth > 1 || tag == tagStr, Metadata, at)
	if tag != tagInt {
		n = uint64(w.u32())
	}
	s := w.take(n)
	if !w.need(n <= uint64(maxPath-path), PathLimit, at) {
		return 0
	}
	w.need(tag != tagStr || utf8.ValidString(s), ValueUTF8, at+5)
	if w.err == nil {
		w.need(keys.add(uint32(at), w.keyBytes), KeyDuplicate, at)
	}
	return int(n)
}

// keyBytes returns the bytes of the key that begins at a position of the index.
func (w *walker) keyBytes(at uint32) string { return w.s[at:Value{w.f, int(at)}.end()] }

// A set holds runs of bytes of the index by where they begin, so that it takes far less memory than the index: duplicates are found in
// linear time even where the file's author chose the bytes, since maphash depends on a seed that nobody outside knows.
type set struct {
	few   [8]uint32 // most dicts have few keys and need no table
	n     int
	seed  maphash.Seed
	table []uint32 // open addressing; 1 + where a run begins, 0 where free; a power of two long and at most half full
}

// add adds the run at position at and reports whether it was missing. run returns the run that begins at a position.
func (s *set) add(at uint32, run func(at uint32) string) bool {
	if s.table == nil {
		for _, other := range s.few[:s.n] {
			if run(other) == run(at) {
				return false
			}
		}
		if s.n < len(s.few) {
			s.few[s.n] = at
			s.n++
			return true
		}
		s.seed = maphash.MakeSeed()
	}
	if 2*s.n >= len(s.table) {
		old := s.table
		if old == nil {
			for _, other := range s.few {
				old = append(old, other+1)
			}
		}
		s.table = make([]uint32, 2*len(old))
		for _, other := range old {
			if other != 0 {
				*s.slot(other-1, run, true) = other
			}
		}
	}
	slot := s.slot(at, run, false)
	if *slot != 0 {
		return false
	}
	*slot = at + 1
	s.n++
	return true
}

// slot returns where an equal run stands in the table, or a free place for it; only the latter if the run is known to be new.
func (s *set) slot(at uint32, run func(at uint32) string, fresh bool) *uint32 {
	bytes := run(at)
	for i := maphash.String(s.seed, bytes); ; i++ {
		slot := &s.table[i&uint64(len(s.table)-1)]
		if *slot == 0 || !fresh && run(*slot-1) == bytes {
			return slot
		}
	}
}

// leaf checks one tensor reference of the root.
func (w *walker) leaf(i uint32, vector bool, at int) {
	f := w.f
	if !w.need(int64(i) < int64(len(f.records)), TensorReference, at+1) || !w.need(i <= w.met, TensorOrder, at+1) {
		return
	}
	seen := i < w.met
	w.need(!(seen && vector), NamedBytes, at)
	w.need(w.vectors == nil || w.vectors[i/64]>>(i%64)&1 == 0, NamedBytes, at)
	if !seen {
		w.met++
	}
	if !vector || w.err != nil {
		return
	}
	if w.vectors == nil {
		w.vectors = make([]uint64, (len(f.records)+63)/64)
	}
	w.vectors[i/64] |= 1 << (i % 64)
	var r record
	f.parse(int(i), &r)
	ok := f.dtypes[r.dtype].Name == "u8" && r.rank == 1 && !r.empty && r.n > maxBytes && r.flags == 0 && r.offset == 0
	if w.need(ok, NamedBytes, at) {
		b := &f.buffers[r.buffer]
		w.need(b.views == 1 && (b.kind != 0 || b.length == r.n), NamedBytes, at)
	}
}
