package cairn

import (
	"hash/crc32"
	"sort"
	"strings"
)

// maxFaults bounds the list of a verification; a file beyond repair needs no longer one.
const maxFaults = 1000

// Faults are what Verify found, in the order of SPEC §12.4. errors.Is and errors.As look at the first.
type Faults []*Error

func (e Faults) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

func (e Faults) Unwrap() error { return e[0] }

// Verify checks every rule of level V for the whole file. It returns nil or Faults: the first fault of all, and the damaged blocks.
// progress, unless nil, is called now and then with the bytes of buffers checked so far and their total.
func (f *File) Verify(progress func(done, total int64)) error {
	faults := f.verify(progress)
	if len(faults) == 0 {
		return nil
	}
	return faults
}

func (f *File) verify(progress func(done, total int64)) (faults Faults) {
	for _, step := range []func() *Error{f.verifyTrailer, f.verifySecond, f.verifyPadding} {
		if err := step(); err != nil {
			faults = append(faults, err)
			if err.Class() == IO {
				return faults
			}
		}
	}
	bad, err := f.verifyBlocks(progress)
	first := len(faults)
	for _, b := range bad {
		if len(faults) < maxFaults {
			faults = append(faults, b.err)
		}
	}
	f.locate(bad, faults[first:])
	if err == nil {
		var more []*Error
		more, err = f.verifyElements(bad)
		faults = append(faults, more...)
	}
	if err != nil {
		return append(faults, err)
	}
	for i := range f.records {
		at := int(f.records[i])
		if n := u32(f.index, at+4); n != noBuffer && f.buffers[n].kind != 0 {
			return append(faults, refuse(BufferKind, int64(f.buffers[n].start), "tensor %d is in a buffer of kind %d", i, f.buffers[n].kind))
		}
	}
	return faults
}

func (f *File) verifyTrailer() *Error {
	if f.head.streamed {
		return nil // done at open
	}
	var last [structLength]byte
	at := f.size - structLength
	if err := f.readAt(last[:], at); err != nil {
		return err
	}
	if string(last[:8]) != magic {
		return refuse(TrailerMagic, at, "")
	}
	t, err := parseStructure(last[:], at, true)
	switch h := f.head; {
	case err != nil:
		return err
	case t.streamed != h.streamed:
		return refuse(TrailerMismatch, at+10, "streamed flag")
	case t.log2 != h.log2:
		return refuse(TrailerMismatch, at+12, "block size")
	case t.fileLength != h.fileLength:
		return refuse(TrailerMismatch, at+16, "file length")
	case t.indexOffset != uint64(f.second):
		return refuse(TrailerMismatch, at+24, "index offset")
	case t.indexLength != h.indexLength:
		return refuse(TrailerMismatch, at+32, "index length")
	case t.indexCRC != h.indexCRC:
		return refuse(TrailerMismatch, at+40, "index CRC")
	}
	return nil
}

func (f *File) verifySecond() *Error {
	if f.head.streamed {
		return nil
	}
	sum, differs := crc32.NewIEEE(), -1
	chunk := make([]byte, min64(int64(len(f.index)), 64<<10))
	for at := 0; at < len(f.index); at += len(chunk) {
		chunk = chunk[:min64(int64(len(f.index)-at), int64(len(chunk)))]
		if err := f.readAt(chunk, f.second+int64(at)); err != nil {
			return err
		}
		sum.Write(chunk)
		for i := 0; i < len(chunk) && differs < 0; i++ {
			if chunk[i] != f.index[at+i] {
				differs = at + i
			}
		}
	}
	// The trailer states this CRC too, or has been reported.
	if sum.Sum32() != f.head.indexCRC {
		return refuse(IndexCRC, f.second, "second index")
	}
	if differs >= 0 {
		return refuse(IndexCopy, f.second+int64(differs), "")
	}
	return nil
}

func (f *File) verifyPadding() *Error {
	end := uint64(structLength)
	if !f.head.streamed {
		end += uint64(len(f.index))
	}
	for i := range f.buffers {
		if err := f.zero(end, f.buffers[i].start); err != nil {
			return err
		}
		end = f.buffers[i].end()
	}
	if err := f.zero(end, uint64(f.second)); err != nil {
		return err
	}
	return f.zero(uint64(f.second)+uint64(len(f.index)), uint64(f.size-structLength))
}

// zero checks padding, which is shorter than 4096 bytes.
func (f *File) zero(from, to uint64) *Error {
	if from == to {
		return nil
	}
	var room [4096]byte
	p := room[:to-from]
	if err := f.readAt(p, int64(from)); err != nil {
		return err
	}
	for i := range p {
		if p[i] != 0 {
			return refuse(Padding, int64(from)+int64(i), "")
		}
	}
	return nil
}

// A badBlock is a damaged block, as a range of the file.
type badBlock struct {
	from, to uint64
	err      *Error
}

// verifyBlocks reads every buffer once, from front to back.
func (f *File) verifyBlocks(progress func(done, total int64)) (bad []badBlock, err *Error) {
	done, total := int64(0), int64(0)
	for i := range f.buffers {
		total += int64(f.buffers[i].length)
	}
	size := uint64(1) << f.head.log2
	run := size // some blocks are read at once
	if run < 1<<20 {
		run = 1 << 20
	}
	var room []byte
	for i := range f.buffers {
		b := &f.buffers[i]
		for off := uint64(0); off < b.length; off += run {
			n := run
			if n > b.length-off {
				n = b.length - off
			}
			if uint64(cap(room)) < n {
				room = make([]byte, n)
			}
			p := room[:n]
			if err := f.readAt(p, int64(b.start+off)); err != nil {
				return bad, err
			}
			for at := uint64(0); at < n; at += size {
				end := at + size
				if end > n {
					end = n
				}
				if crc32.ChecksumIEEE(p[at:end]) != f.blockCRC(b, (off+at)/size) {
					from := b.start + off + at
					bad = append(bad, badBlock{from, from + end - at, refuse(BlockCRC, int64(from), "%d bytes", end-at)})
				}
			}
			if done += int64(n); progress != nil {
				progress(done, total)
			}
		}
	}
	return bad, nil
}

// touches calls fn for each bad block that holds bytes of tensor t. It may name a block between the elements of a strided tensor.
func (t *Tensor) touches(bad []badBlock, fn func(i int) bool) {
	if t.r.empty || len(bad) == 0 || t.f.buffers[t.r.buffer].kind != 0 {
		return
	}
	from := t.f.buffers[t.r.buffer].start + t.r.offset
	to := from + t.r.extent
	for i := sort.Search(len(bad), func(i int) bool { return bad[i].to > from }); i < len(bad) && bad[i].from < to; i++ {
		if !fn(i) {
			return
		}
	}
}

// locate adds to the reports of damaged blocks the address of one tensor each that the block concerns.
func (f *File) locate(bad []badBlock, reports []*Error) {
	if len(reports) == 0 {
		return
	}
	bad = bad[:len(reports)]
	concerned := map[int][]int{} // tensor to blocks
	known := make([]bool, len(bad))
	left := len(bad)
	t := Tensor{f: f}
	for i := range f.records {
		if left == 0 {
			break
		}
		t.num = i
		f.parse(i, &t.r)
		t.touches(bad, func(k int) bool {
			if !known[k] && (t.r.dense || t.holds(bad[k])) {
				known[k] = true
				left--
				concerned[i] = append(concerned[i], k)
			}
			return left > 0
		})
	}
	f.Root().addresses("", func(tensor int, address string) bool {
		for _, k := range concerned[tensor] {
			reports[k].Detail += " of \"" + address + "\""
		}
		delete(concerned, tensor)
		return len(concerned) > 0
	})
}

// holds reports whether a bad block holds bytes of a strided tensor.
func (t *Tensor) holds(b badBlock) (yes bool) {
	start, width := t.f.buffers[t.r.buffer].start, uint64(t.DType().Bytes)
	t.each(func(from, _ uint64) *Error {
		at := start + from
		yes = at < b.to && at+width > b.from
		if yes || at >= b.to {
			return stop
		}
		return nil
	})
	return yes
}

var stop = &Error{Code: OutOfRange, Offset: -1}

// verifyElements checks tail-bits and bool-value for each tensor in order whose blocks are good, and returns the first fault. Many bool
// tensors may view one buffer, so each such buffer is read once, not once a tensor.
func (f *File) verifyElements(bad []badBlock) (faults []*Error, err *Error) {
	bools := map[uint32][]uint32{} // buffer to its tensors of dtype bool
	first := -1                    // the first tensor with a fault
	var fault *Error
	t := Tensor{f: f}
	for i := range f.records {
		t.num = i
		f.parse(i, &t.r)
		d := t.DType()
		if t.r.empty || f.buffers[t.r.buffer].kind != 0 || d.Name != "bool" && !t.r.partial {
			continue
		}
		good := true
		t.touches(bad, func(k int) bool {
			good = !t.r.dense && !t.holds(bad[k])
			return good
		})
		if !good {
			continue
		}
		if d.Name == "bool" {
			bools[t.r.buffer] = append(bools[t.r.buffer], uint32(i))
			continue
		}
		group := make([]byte, d.Bytes)
		b := &f.buffers[t.r.buffer]
		at := t.r.offset + t.r.length - uint64(d.Bytes)
		if err := (&source{f: f, b: b}).read(group, at); err != nil {
			return nil, err
		}
		if k := tail(d, t.r.n, group); k >= 0 {
			first, fault = i, refuse(TailBits, int64(b.start+at)+int64(k), "tensor %d", i)
			break // bool tensors before this one are in bools, later ones do not matter
		}
	}
	for n := range bools {
		i, e, err := f.verifyBools(n, bools[n], bad)
		if err != nil {
			return nil, err
		}
		if e != nil && (first < 0 || i < first) {
			first, fault = i, e
		}
	}
	if fault != nil {
		faults = append(faults, fault)
	}
	return faults, nil
}

// verifyBools returns the first of the given tensors of one buffer that has a byte above 1 in an element.
func (f *File) verifyBools(n uint32, tensors []uint32, bad []badBlock) (int, *Error, *Error) {
	b := &f.buffers[n]
	ends := make([]uint64, len(tensors)) // sorted with order
	order := make([]int, len(tensors))
	t := Tensor{f: f}
	for i := range tensors {
		f.parse(int(tensors[i]), &t.r)
		ends[i], order[i] = t.r.offset+t.r.extent, i
	}
	sort.Slice(order, func(i, k int) bool { return ends[order[i]] < ends[order[k]] })
	first, at := -1, uint64(0)
	var fault *Error
	last := uint64(0) // 1 + the offset of the last byte above 1 before off
	off := uint64(0)
	in := source{f: f, b: b}
	room := make([]byte, 1<<f.head.log2)
	for _, k := range order {
		i := int(tensors[k])
		f.parse(i, &t.r)
		t.num = i
		for off < ends[k] {
			p := room
			if end := (off>>f.head.log2 + 1) << f.head.log2; end-off < uint64(len(p)) {
				p = p[:end-off]
			}
			if ends[k]-off < uint64(len(p)) {
				p = p[:ends[k]-off]
			}
			from := b.start + off
			if q := sort.Search(len(bad), func(i int) bool { return bad[i].to > from }); q < len(bad) && bad[q].from <= from {
				off += uint64(len(p)) // no good tensor has bytes in a bad block
				continue
			}
			if err := in.read(p, off); err != nil {
				return 0, nil, err
			}
			for x, c := range p {
				if c > 1 {
					last = off + uint64(x) + 1
				}
			}
			off += uint64(len(p))
		}
		if last <= t.r.offset || first >= 0 && i > first {
			continue
		}
		found := false
		check := source{f: f, b: b}
		var one [1]byte
		look := func(from, _ uint64) *Error {
			if err := check.read(one[:], from); err != nil {
				return err
			}
			if one[0] > 1 {
				found, at = true, from
				return stop
			}
			return nil
		}
		if t.r.flags == 0 {
			for from := t.r.offset; from < ends[k] && !found; from++ {
				if err := look(from, 0); err != nil && err != stop {
					return 0, nil, err
				}
			}
		} else if err := t.each(look); err != nil && err != stop {
			return 0, nil, err
		}
		if found {
			first = i
			fault = refuse(BoolValue, int64(b.start+at), "tensor %d", i)
		}
	}
	return first, fault, nil
}
