package cairn

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// A Tensor is one entry of the tensor table. Leaves with the same Number are one tensor: tied.
type Tensor struct {
	f   *File
	num int
	r   record
}

// Tensors returns the number of tensors in the file.
func (f *File) Tensors() int { return len(f.records) }

// Tensor returns tensor i of the file's table, in which they stand in the order of their first appearance in the root.
func (f *File) Tensor(i int) (*Tensor, error) {
	if i < 0 || i >= len(f.records) {
		return nil, refuse(OutOfRange, -1, "tensor %d of %d", i, len(f.records))
	}
	t := &Tensor{f: f, num: i}
	f.parse(i, &t.r)
	return t, nil
}

// Number returns the tensor's number in the table.
func (t *Tensor) Number() int { return t.num }

// DType returns the element type.
func (t *Tensor) DType() DType { return t.f.dtypes[t.r.dtype] }

// Shape returns a copy of the extents, first axis first.
func (t *Tensor) Shape() []int64 { return signed(t.r.dims[:t.r.rank]) }

// Strides returns the strides in elements as stored, or nil for a row-major tensor.
func (t *Tensor) Strides() []int64 {
	if t.r.flags == 0 {
		return nil
	}
	return signed(t.r.strides[:t.r.rank])
}

// all extents and strides fit: their products are checked at open.
func signed(from []uint64) []int64 {
	to := make([]int64, len(from))
	for i := range from {
		to[i] = int64(from[i])
	}
	return to
}

// Len returns the number of elements.
func (t *Tensor) Len() int64 {
	if t.r.empty {
		return 0
	}
	return int64(t.r.n)
}

// ByteLen returns the number of bytes of the elements, which is the length of what Bytes returns.
func (t *Tensor) ByteLen() int64 { return int64(t.r.length) }

// Buffer returns the number of the tensor's buffer; ok is false for an empty tensor. Tensors in one buffer share memory.
func (t *Tensor) Buffer() (number int, ok bool) {
	if t.r.empty {
		return 0, false
	}
	return int(t.r.buffer), true
}

// Offset returns where the tensor begins in its buffer, in bytes.
func (t *Tensor) Offset() uint64 { return t.r.offset }

// Bytes returns a copy of the tensor's elements in row-major order and in the file's little-endian form; of packed and block dtypes the
// bytes as stored. It checks every block that it takes bytes from, and the bytes of bool and partial last groups (SPEC §12.4).
func (t *Tensor) Bytes() ([]byte, error) {
	p, err := t.bytes()
	if err != nil {
		return nil, err // not p, and not a typed nil
	}
	return p, nil
}

func (t *Tensor) bytes() ([]byte, *Error) {
	f, r := t.f, &t.r
	if r.empty {
		return []byte{}, nil
	}
	b := &f.buffers[r.buffer]
	if b.kind != 0 {
		return nil, refuse(BufferKind, int64(b.start), "tensor %d is in a buffer of kind %d", t.num, b.kind)
	}
	if err := f.spend(int64(r.length)); err != nil {
		return nil, err
	}
	p := make([]byte, r.length)
	in := source{f: f, b: b}
	if r.flags == 0 {
		if err := in.read(p, r.offset); err != nil {
			return nil, err
		}
	} else if err := t.each(func(from, to uint64) *Error {
		return in.read(p[to:to+uint64(f.dtypes[r.dtype].Bytes)], from)
	}); err != nil {
		return nil, err
	}
	if err := t.check(p); err != nil {
		return nil, err
	}
	return p, nil
}

// each calls fn for every element of a tensor with strides, in the order in which they lie in the buffer: with the element's offset in the
// buffer, and its offset among the row-major elements.
func (t *Tensor) each(fn func(from, to uint64) *Error) *Error {
	r, width := &t.r, uint64(t.DType().Bytes)
	var row [maxRank]uint64 // row-major strides
	n := uint64(1)
	for i := r.rank - 1; i >= 0; i-- {
		row[i] = n
		n *= r.dims[i]
	}
	var axes [maxRank]uint8
	order := r.ascending(&axes)
	var at [maxRank]uint64
	from, to := uint64(0), uint64(0)
	for {
		if err := fn(r.offset+from*width, to*width); err != nil {
			return err
		}
		k := 0
		for ; k < len(order); k++ {
			i := order[k]
			if at[k]++; at[k] < r.dims[i] {
				from += r.strides[i]
				to += row[i]
				break
			}
			at[k] = 0
			from -= (r.dims[i] - 1) * r.strides[i]
			to -= (r.dims[i] - 1) * row[i]
		}
		if k == len(order) {
			return nil
		}
	}
}

// check checks tail-bits and bool-value over the tensor's elements.
func (t *Tensor) check(p []byte) *Error {
	r, d := &t.r, t.DType()
	at := int64(t.f.buffers[r.buffer].start + r.offset)
	if r.partial {
		if i := tail(d, r.n, p[len(p)-int(d.Bytes):]); i >= 0 {
			return refuse(TailBits, at+int64(len(p))-int64(d.Bytes)+int64(i), "tensor %d", t.num)
		}
	}
	if d.Name == "bool" {
		for i, x := range p {
			if x > 1 {
				if r.flags != 0 {
					at, i = at+t.position(uint64(i)), 0
				}
				return refuse(BoolValue, at+int64(i), "tensor %d", t.num)
			}
		}
	}
	return nil
}

// position returns how many elements lie before row-major element i of a tensor with strides.
func (t *Tensor) position(i uint64) int64 {
	n := uint64(0)
	for k := t.r.rank - 1; k >= 0; k-- {
		n += i % t.r.dims[k] * t.r.strides[k]
		i /= t.r.dims[k]
	}
	return int64(n)
}

// tail returns the first byte of a partial last group in which a bit above element n-1 is set, or -1.
func tail(d DType, n uint64, group []byte) int {
	used := int(n%uint64(d.Elements)) * (int(d.Bytes) * 8 / int(d.Elements))
	for i := used / 8; i < len(group); i++ {
		x := group[i]
		if i == used/8 {
			x >>= uint(used % 8)
		}
		if x != 0 {
			return i
		}
	}
	return -1
}

// Float32s returns the elements of an f32, f16 or bf16 tensor, in row-major order.
func (t *Tensor) Float32s() ([]float32, error) {
	name := t.DType().Name
	if name != "f32" && name != "f16" && name != "bf16" {
		return nil, refuse(WrongType, -1, "dtype %s", name)
	}
	p, err := t.Bytes()
	if err != nil {
		return nil, err
	}
	v := make([]float32, t.Len())
	for i := range v {
		switch name {
		case "f32":
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(p[4*i:]))
		case "bf16":
			v[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(p[2*i:])) << 16)
		default:
			v[i] = half(binary.LittleEndian.Uint16(p[2*i:]))
		}
	}
	return v, nil
}

// half widens a binary16.
func half(h uint16) float32 {
	sign, exponent, mantissa := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch exponent {
	case 0:
		x := float32(mantissa) / (1 << 24)
		return math.Float32frombits(math.Float32bits(x) | sign)
	case 31:
		return math.Float32frombits(sign | 0xFF<<23 | mantissa<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | mantissa<<13)
}

// Float64s returns the elements of an f64 tensor, in row-major order.
func (t *Tensor) Float64s() ([]float64, error) {
	p, err := t.take("f64")
	if err != nil {
		return nil, err
	}
	v := make([]float64, t.Len())
	for i := range v {
		v[i] = math.Float64frombits(binary.LittleEndian.Uint64(p[8*i:]))
	}
	return v, nil
}

// Int64s returns the elements of an i64 tensor, in row-major order.
func (t *Tensor) Int64s() ([]int64, error) {
	p, err := t.take("i64")
	if err != nil {
		return nil, err
	}
	v := make([]int64, t.Len())
	for i := range v {
		v[i] = int64(binary.LittleEndian.Uint64(p[8*i:]))
	}
	return v, nil
}

func (t *Tensor) take(dtype string) ([]byte, error) {
	if t.DType().Name != dtype {
		return nil, refuse(WrongType, -1, "dtype %s", t.DType().Name)
	}
	return t.Bytes()
}

// A source reads bytes of one buffer and checks every block it reads.
type source struct {
	f     *File
	b     *buffer
	block []byte // the last block that was needed in part
	num   uint64 // its number in the buffer
}

// read fills p from offset off of the buffer.
func (s *source) read(p []byte, off uint64) *Error {
	size := uint64(1) << s.f.head.log2
	for len(p) > 0 {
		num := off / size
		first := num * size
		n := size
		if n > s.b.length-first {
			n = s.b.length - first
		}
		if len(s.block) > 0 && s.num == num {
			k := copy(p, s.block[off-first:])
			p, off = p[k:], off+uint64(k)
			continue
		}
		if off == first && uint64(len(p)) >= n {
			if err := s.f.readBlock(s.b, num, p[:n]); err != nil {
				return err
			}
			p, off = p[n:], off+n
			continue
		}
		if uint64(cap(s.block)) < n {
			s.block = make([]byte, n)
		}
		s.block, s.num = s.block[:n], num
		if err := s.f.readBlock(s.b, num, s.block); err != nil {
			s.block = s.block[:0]
			return err
		}
	}
	return nil
}

// readBlock reads block num of a buffer into p, which has its length, and checks it.
func (f *File) readBlock(b *buffer, num uint64, p []byte) *Error {
	at := int64(b.start + num<<f.head.log2)
	if err := f.readAt(p, at); err != nil {
		return err
	}
	if crc32.ChecksumIEEE(p) != f.blockCRC(b, num) {
		return refuse(BlockCRC, at, "%d bytes", len(p))
	}
	return nil
}

func (f *File) blockCRC(b *buffer, num uint64) uint32 { return u32(f.index, int(b.crcs)+4*int(num)) }
