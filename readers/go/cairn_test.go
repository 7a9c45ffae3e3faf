package cairn

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// le appends numbers of fixed width and strings.
func le(parts ...interface{}) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b.WriteString(p)
		case []byte:
			b.Write(p)
		default:
			if err := binary.Write(&b, binary.LittleEndian, p); err != nil {
				panic(err)
			}
		}
	}
	return b.Bytes()
}

func str(s string) []byte { return le(uint8(tagStr), uint32(len(s)), s) }

func leaf(n uint32) []byte { return le(uint8(tagTensor), n) }

func box(tag uint8, count uint32, items ...[]byte) []byte {
	body := bytes.Join(items, nil)
	return le(tag, count, uint32(len(body)), body)
}

// sketch is what the tests make files from: everything but what follows from it.
type sketch struct {
	streamed   bool
	extensions []byte
	dtypes     []string // records
	buffers    []string // bytes of kind-0 buffers
	tensors    [][]byte // records
	meta, root []byte
}

func dtype(elements, bytes uint32, class uint8, name string) string {
	return string(le(elements, bytes, class, uint8(len(name)), name))
}

func tensor(dtype, buffer uint32, offset uint64, dims []uint64, strides []uint64) []byte {
	flag := uint8(0)
	if strides != nil {
		flag = 1
	}
	return le(dtype, buffer, offset, uint8(len(dims)), flag, dims, strides)
}

func seal(b []byte) []byte { return le(b[:60], crc32.ChecksumIEEE(b[:60])) }

func (s sketch) file() []byte {
	if s.extensions == nil {
		s.extensions = le(uint32(0))
	}
	if s.meta == nil {
		s.meta = box(tagDict, 0)
	}
	index := le(s.extensions, uint32(len(s.dtypes)), strings.Join(s.dtypes, ""), uint32(len(s.buffers)))
	for _, b := range s.buffers {
		index = le(index, uint64(len(b)), uint32(0), uint32(0))
	}
	for _, b := range s.buffers {
		for at := 0; at < len(b); at += 4096 {
			end := at + 4096
			if end > len(b) {
				end = len(b)
			}
			index = le(index, crc32.ChecksumIEEE([]byte(b[at:end])))
		}
	}
	index = le(index, uint32(len(s.tensors)), bytes.Join(s.tensors, nil), s.meta, s.root)
	file := make([]byte, 64)
	pad := func(a uint64) { file = append(file, make([]byte, align(uint64(len(file)), a)-uint64(len(file)))...) }
	flags := uint16(1)
	if !s.streamed {
		flags = 0
		file = append(file, index...)
	}
	for _, b := range s.buffers {
		pad(64)
		if len(b) >= largeBuffer {
			pad(4096)
		}
		file = append(file, b...)
	}
	pad(64)
	second := uint64(len(file))
	file = append(file, index...)
	pad(64)
	length, crc := uint64(len(file)+64), crc32.ChecksumIEEE(index)
	if s.streamed {
		copy(file, seal(le(magic, uint16(1), flags, uint8(12), make([]byte, 47))))
	} else {
		copy(file, seal(le(magic, uint16(1), flags, uint8(12), make([]byte, 3), length, uint64(64), uint64(len(index)), crc, make([]byte, 16))))
	}
	return append(file, seal(le(magic, uint16(1), flags|2, uint8(12), make([]byte, 3), length, second, uint64(len(index)), crc, make([]byte, 16)))...)
}

func open(t *testing.T, b []byte) *File {
	t.Helper()
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// verdict returns the code of the first fault, "" for none.
func verdict(b []byte) Code {
	var e *Error
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err == nil {
		err = f.Verify(nil)
	}
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func sample(streamed bool) sketch {
	matrix := le([]float32{1, 2, 3, 4, 5, 6})
	return sketch{
		streamed: streamed,
		dtypes:   []string{dtype(1, 4, 0, "f32"), dtype(4, 3, 1, "f6_e2m3fn"), dtype(1, 1, 0, "bool"), dtype(2, 2, 0x02, "my.block")},
		buffers:  []string{string(matrix), "\x08\x8A\xA0\x08\x00\x00", strings.Repeat("\x01\x00", 5000), "abcd"},
		tensors: [][]byte{
			tensor(0, 0, 0, []uint64{3, 2}, nil),
			tensor(0, 0, 0, []uint64{2, 3}, []uint64{1, 2}), // its transpose
			tensor(0, 0, 4, []uint64{1, 2}, []uint64{0, 3}), // elements 2 and 5: strided
			tensor(1, 1, 0, []uint64{5}, nil),
			tensor(2, 2, 0, []uint64{10000}, nil),
			tensor(2, noBuffer, 0, []uint64{0, 7}, nil),
			tensor(3, 3, 0, []uint64{4}, nil),
		},
		meta: box(tagDict, 1, str("by"), str("hand")),
		root: box(tagDict, 5,
			str("w"), box(tagList, 4, leaf(0), leaf(1), leaf(2), leaf(0)),
			le(uint8(tagInt), int64(-3)), leaf(3),
			le(uint8(tagBytes), uint32(2), "a~"), leaf(4),
			str("a/b~c"), le(uint8(tagNamed), uint32(3), "x.y", box(tagTuple, 2, leaf(5), leaf(6))),
			str("n"), le(uint8(tagBigInt), uint32(9), make([]byte, 8), int8(-1))),
	}
}

func TestRead(t *testing.T) {
	for _, streamed := range []bool{false, true} {
		f := open(t, sample(streamed).file())
		if err := f.Verify(func(done, total int64) {}); err != nil {
			t.Fatal(err)
		}
		for address, want := range map[string]string{
			"/w/0": "0000803f000000400000404000008040" + "0000a0400000c040", "/w/1": "0000803f" + "00004040" + "0000a040" + "00000040" + "00008040" + "0000c040",
			"/w/2": "000000400000a040", "/~i-3": "088aa0080000", "/a~1b~0c/0": "", "/a~1b~0c/1": "61626364", "/~b617e": strings.Repeat("0100", 5000),
		} {
			x, err := f.GetTensor(address)
			if err != nil {
				t.Fatal(address, err)
			}
			p, err := x.Bytes()
			if got := hex.EncodeToString(p); err != nil || got != want || len(p) != int(x.ByteLen()) {
				t.Errorf("%s: %s instead of %s, %v", address, got, want, err)
			}
		}
		for address, want := range map[string]Code{
			"w": BadAddress, "/~": BadAddress, "/~2": BadAddress, "/~i": BadAddress, "/~i-0": BadAddress, "/~i03": BadAddress, "/~i+3": BadAddress,
			"/~i9223372036854775808": BadAddress, "/~b6": BadAddress, "/~bAB": BadAddress, "/\xff": BadAddress, "/w/~2": BadAddress,
			"/w/00": NotFound, "/w/4": NotFound, "/w/~i0": NotFound, "/w/": NotFound, "/-3": NotFound, "/": NotFound, "/n/0": NotFound,
			"/~i-9223372036854775808": NotFound, "/~b": NotFound,
		} {
			if _, err := f.Get(address); !errors.Is(err, want) {
				t.Errorf("%s: %v instead of %s", address, err, want)
			}
		}
		n, _ := f.Get("/n")
		if b, err := n.BigInt(); err != nil || b.String() != "-18446744073709551616" {
			t.Error(b, err)
		}
		if s, _ := f.Metadata().Pairs()[0].Value.Str(); s != "hand" {
			t.Error(s)
		}
		x, _ := f.GetTensor("/w/1")
		if v, err := x.Float32s(); err != nil || v[1] != 3 {
			t.Error(v, err)
		}
		if _, err := x.Int64s(); !errors.Is(err, WrongType) {
			t.Error(err)
		}
	}
}

func TestSmallest(t *testing.T) {
	if b := (sketch{streamed: true, root: []byte{tagNull}}).file(); len(b) != 192 || verdict(b) != "" {
		t.Error(len(b), verdict(b))
	}
	if b := (sketch{root: []byte{tagNull}}).file(); len(b) != 256 || verdict(b) != "" {
		t.Error(len(b), verdict(b))
	}
}

// Every byte is under a check, and so is every length.
func TestDamage(t *testing.T) {
	for _, streamed := range []bool{false, true} {
		good := sample(streamed).file()
		for i := range good {
			b := append([]byte{}, good...)
			b[i] ^= 1 << uint(i%8)
			if verdict(b) == "" {
				t.Fatalf("a change of byte %d is not found", i)
			}
			if verdict(good[:i]) == "" {
				t.Fatalf("an end at byte %d is not found", i)
			}
		}
		if c := verdict(append(append([]byte{}, good...), 0)); c != TrailingBytes && c != TrailerMissing {
			t.Error(c)
		}
	}
}

// Whatever an index says under a good checksum, nothing panics.
func TestForged(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	seen := map[Code]int{}
	for _, streamed := range []bool{false, true} {
		good := sample(streamed).file()
		for i := 0; i < 15000; i++ {
			b := append([]byte{}, good...)
			tail := b[len(b)-64:]
			at, n := binary.LittleEndian.Uint64(tail[24:]), binary.LittleEndian.Uint64(tail[32:])
			index := b[at : at+n]
			for k := random.Intn(3); k >= 0; k-- {
				x := random.Intn(len(index))
				if random.Intn(4) > 0 {
					x = x * x / len(index) / 2 // tables more than values
				}
				index[x] = []byte{0, 1, 2, 4, 0x0C, 0x7F, 0x80, 0xFF, index[x] + 1, index[x] - 1}[random.Intn(10)]
			}
			binary.LittleEndian.PutUint32(tail[40:], crc32.ChecksumIEEE(index))
			copy(tail, seal(tail))
			if !streamed {
				copy(b[64:], index)
				copy(b[40:44], tail[40:44])
				copy(b, seal(b[:64]))
			}
			f, err := Open(bytes.NewReader(b), int64(len(b)))
			if err == nil {
				for k := 0; k < f.Tensors(); k++ {
					x, _ := f.Tensor(k)
					x.Bytes()
				}
				f.Root().addresses("", func(_ int, address string) bool {
					if _, err := f.GetTensor(address); err != nil {
						t.Fatal(address, err)
					}
					return true
				})
			}
			seen[verdict(b)]++
		}
	}
	t.Log(len(seen), "verdicts:", seen)
}

func TestRules(t *testing.T) {
	deep := func(n int) []byte {
		b := []byte{tagNull}
		for ; n > 1; n-- {
			b = box(tagList, 1, b)
		}
		return b
	}
	many := func(last string) string {
		var items [][]byte
		for i := 0; i < 999; i++ {
			items = append(items, str(strings.Repeat("k", i%30)+string(rune(i))), []byte{tagNull})
		}
		return string(box(tagDict, 1000, append(items, str(last), []byte{tagNull})...))
	}
	for _, c := range []struct {
		root string
		want Code
	}{
		{many("new"), ""}, {many("\x00"), KeyDuplicate}, {many("k\x01"), KeyDuplicate}, {many("k\x02"), ""}, {many("kkkkkkkk" + string(rune(998))), KeyDuplicate},
		{string(deep(128)), ""}, {string(deep(129)), DepthLimit}, {"\x00", ValueTag}, {"\x0f", ValueTag}, {"\x01\x01", IndexLong},
		{string(str("\xed\xa0\x80")), ValueUTF8}, {string(str("\xc0\x80")), ValueUTF8}, {string(str("\x00")), ""},
		{string(box(tagDict, 2, str("a"), []byte{1}, str("a"), []byte{1})), KeyDuplicate},
		{string(box(tagDict, 2, str("a"), []byte{1}, str("a"), []byte{0})), KeyDuplicate},
		{string(box(tagDict, 1, []byte{1}, []byte{1}, str(""))), KeyTag},
		{string(box(tagDict, 1, str(strings.Repeat("k", 4096)), []byte{1})), ""},
		{string(box(tagDict, 1, str(strings.Repeat("k", 4097)), []byte{1})), PathLimit},
		{string(box(tagDict, 1, str(strings.Repeat("k", 4089)), box(tagDict, 1, le(uint8(tagInt), int64(0)), []byte{1}))), PathLimit},
		{string(box(tagList, 2, []byte{1})), ValueLength}, {string(box(tagList, 1, []byte{1, 1})), ValueLength},
		{string(le(uint8(tagList), uint32(1), uint32(2), "\x01")), IndexShort},
		{string(box(tagList, 1, le(uint8(tagList), uint32(1), uint32(2), "\x01"))), ValueLength},
		{string(le(uint8(tagBigInt), uint32(8), "12345678")), ValueBigInt}, {string(le(uint8(tagBigInt), uint32(8193))), BigIntLimit},
		{string(le(uint8(tagBigInt), uint32(9), "1234567\x80\x00")), ""}, {string(le(uint8(tagBigInt), uint32(9), "1234567\x7f\x00")), ValueBigInt},
		{string(le(uint8(tagBigInt), uint32(9), "1234567\x7f\xff")), ""}, {string(le(uint8(tagBigInt), uint32(9), "1234567\x80\xff")), ValueBigInt},
		{string(le(uint8(tagBytes), uint32(65537))), BytesLimit}, {string(leaf(0)), TensorReference},
		{string(le(uint8(tagNamed), uint32(0))), NamedName}, {string(le(uint8(tagNamed), uint32(1), "X\x01")), NamedName},
		{string(le(uint8(tagNamed), uint32(2), "X.\x01")), ""}, {string(le(uint8(tagNamed), uint32(5), "bytes\x01")), NamedBytes},
	} {
		for _, streamed := range []bool{false, true} {
			if got := verdict(sketch{streamed: streamed, root: []byte(c.root)}.file()); got != c.want {
				t.Errorf("%q: %q instead of %q", c.root, got, c.want)
			}
		}
	}
}

// A bad block concerns only tensors with bytes in it, also where a strided tensor reaches over it.
func TestStridesAndBlocks(t *testing.T) {
	data := make([]byte, 3*4096+1024)
	rand.New(rand.NewSource(2)).Read(data)
	s := sketch{
		dtypes:  []string{dtype(1, 4, 0, "u32"), dtype(1, 12, 0, "my.wide")},
		buffers: []string{string(data)},
		tensors: [][]byte{
			tensor(0, 0, 0, []uint64{13, 256}, nil),
			tensor(0, 0, 0, []uint64{2, 1024}, []uint64{2048, 1}), // blocks 0 and 2
			tensor(0, 0, 8, []uint64{7, 5}, []uint64{3, 40}),
			tensor(1, 0, 4, []uint64{2, 3, 100}, []uint64{1, 300, 3}), // elements lie across the ends of blocks
		},
		root: box(tagList, 4, leaf(0), leaf(1), leaf(2), leaf(3)),
	}
	b := s.file()
	f := open(t, b)
	if err := f.Verify(nil); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 4; i++ {
		x, _ := f.Tensor(i)
		shape, strides, width := x.Shape(), x.Strides(), int(x.DType().Bytes)
		var want []byte
		var walk func(axis, at int)
		walk = func(axis, at int) {
			if axis == len(shape) {
				want = append(want, data[int(x.Offset())+at*width:][:width]...)
				return
			}
			for k := 0; k < int(shape[axis]); k++ {
				walk(axis+1, at+k*int(strides[axis]))
			}
		}
		walk(0, 0)
		if got, err := x.Bytes(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("tensor %d: %v", i, err)
		}
	}
	b[f.buffers[0].start+5000] ^= 1
	f = open(t, b)
	for i, want := range []error{BlockCRC, nil, nil, BlockCRC} {
		x, _ := f.Tensor(i)
		if _, err := x.Bytes(); want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("tensor %d: %v", i, err)
		}
	}
	if err := f.Verify(nil); !errors.Is(err, BlockCRC) || !strings.Contains(err.Error(), `"/0"`) {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	b := sample(false).file()
	if _, err := OpenLimited(bytes.NewReader(b), int64(len(b)), Limits{Index: 100}); !errors.Is(err, Budget) {
		t.Error(err)
	}
	f, err := OpenLimited(bytes.NewReader(b), int64(len(b)), Limits{Copied: 30})
	if err != nil {
		t.Fatal(err)
	}
	x, _ := f.Tensor(0)
	if _, err := x.Bytes(); err != nil {
		t.Error(err)
	}
	if _, err := x.Bytes(); !errors.Is(err, Budget) {
		t.Error(err)
	}
}

func TestChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.cairn")
	b := sample(false).file()
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(path, int64(len(b)-1)); err != nil {
		t.Fatal(err)
	}
	x, _ := f.Tensor(0)
	if _, err := x.Bytes(); !errors.Is(err, FileChanged) {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(sample(false).file())
	f.Add(sample(true).file())
	f.Fuzz(func(t *testing.T, b []byte) { verdict(b) })
}
