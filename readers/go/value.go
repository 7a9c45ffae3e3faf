package cairn

import (
	"math"
	"math/big"
)

// A Kind is the type of a value.
type Kind uint8

const (
	Null Kind = iota
	Bool
	Int // also what the file spells as a big int
	Float
	Complex
	Str
	Bytes
	List
	Tuple
	Dict
	Named
	TensorKind
)

var kinds = [...]string{"null", "bool", "int", "float", "complex", "str", "bytes", "list", "tuple", "dict", "named", "tensor"}

func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return "?"
}

var kindOf = [...]Kind{tagNull: Null, tagFalse: Bool, tagTrue: Bool, tagInt: Int, tagBigInt: Int, tagFloat: Float, tagCompl: Complex, tagStr: Str,
	tagBytes: Bytes, tagList: List, tagTuple: Tuple, tagDict: Dict, tagNamed: Named, tagTensor: TensorKind}

// A Value is one place in a tree of a File. It is a handle: nothing is decoded before it is asked for, and copying it costs nothing.
// Strings it gives share memory with the File's index.
type Value struct {
	f  *File
	at int // of the tag in the index, which Open has found good
}

// A Pair is one entry of a dict. The key is of kind Int, Str or Bytes.
type Pair struct{ Key, Value Value }

func (v Value) tag() uint8 { return v.f.index[v.at] }

// Kind returns the type of the value.
func (v Value) Kind() Kind { return kindOf[v.tag()] }

func (v Value) wrong(want Kind) *Error {
	return refuse(WrongType, v.f.at+int64(v.at), "%s instead of %s", v.Kind(), want)
}

// end returns where a value ends.
func (v Value) end() int {
	s, at := v.f.index, v.at
	for {
		switch s[at] {
		case tagInt, tagFloat:
			return at + 9
		case tagCompl:
			return at + 17
		case tagBigInt, tagStr, tagBytes:
			return at + 5 + int(u32(s, at+1))
		case tagList, tagTuple, tagDict:
			return at + 9 + int(u32(s, at+5))
		case tagNamed:
			at += 5 + int(u32(s, at+1))
		case tagTensor:
			return at + 5
		default:
			return at + 1
		}
	}
}

// text returns the bytes behind the length field of a str, bytes, big int or type name.
func (v Value) text() string { return v.f.index[v.at+5 : v.at+5+int(u32(v.f.index, v.at+1))] }

// Bool returns a bool.
func (v Value) Bool() (bool, error) {
	if v.Kind() != Bool {
		return false, v.wrong(Bool)
	}
	return v.tag() == tagTrue, nil
}

// Int64 returns an int that fits 64 bits; for others it refuses, and BigInt serves.
func (v Value) Int64() (int64, error) {
	if v.tag() != tagInt {
		return 0, v.wrong(Int)
	}
	return int64(u64(v.f.index, v.at+1)), nil
}

// BigInt returns an int of any size.
func (v Value) BigInt() (*big.Int, error) {
	switch v.tag() {
	case tagInt:
		return big.NewInt(int64(u64(v.f.index, v.at+1))), nil
	case tagBigInt:
		s := v.text()
		b := make([]byte, len(s))
		for i := range b {
			b[len(b)-1-i] = s[i]
		}
		n := new(big.Int).SetBytes(b)
		if b[0] >= 0x80 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
		return n, nil
	}
	return nil, v.wrong(Int)
}

// FloatBits returns the bits of a float.
func (v Value) FloatBits() (uint64, error) {
	if v.Kind() != Float {
		return 0, v.wrong(Float)
	}
	return u64(v.f.index, v.at+1), nil
}

// Float64 returns a float.
func (v Value) Float64() (float64, error) {
	b, err := v.FloatBits()
	return math.Float64frombits(b), err
}

// ComplexBits returns the bits of the two parts of a complex number.
func (v Value) ComplexBits() (re, im uint64, err error) {
	if v.Kind() != Complex {
		return 0, 0, v.wrong(Complex)
	}
	return u64(v.f.index, v.at+1), u64(v.f.index, v.at+9), nil
}

// Str returns a str.
func (v Value) Str() (string, error) {
	if v.Kind() != Str {
		return "", v.wrong(Str)
	}
	return v.text(), nil
}

// Bytes returns a copy of a bytes value, also of a long one, which is stored as named("bytes", tensor) and read here.
func (v Value) Bytes() ([]byte, error) {
	if v.Kind() == Bytes {
		return []byte(v.text()), nil
	}
	if v.Kind() == Named && v.text() == "bytes" {
		_, inner, _ := v.Named()
		t, err := inner.Tensor()
		if err != nil {
			return nil, err
		}
		return t.Bytes()
	}
	return nil, v.wrong(Bytes)
}

// Named returns name and value of a named value.
func (v Value) Named() (string, Value, error) {
	if v.Kind() != Named {
		return "", Value{}, v.wrong(Named)
	}
	name := v.text()
	return name, Value{v.f, v.at + 5 + len(name)}, nil
}

// Tensor returns the tensor at a leaf.
func (v Value) Tensor() (*Tensor, error) {
	if v.Kind() != TensorKind {
		return nil, v.wrong(TensorKind)
	}
	return v.f.Tensor(int(u32(v.f.index, v.at+1)))
}

// Len returns the number of items of a list or tuple, or of pairs of a dict; of other values 0.
func (v Value) Len() int {
	if k := v.Kind(); k != List && k != Tuple && k != Dict {
		return 0
	}
	return int(u32(v.f.index, v.at+1))
}

// Each calls fn for the items of a list or tuple, or the pairs of a dict, in order, until it returns false. The key of an item is the
// zero Value. Other values have no items.
func (v Value) Each(fn func(key, item Value) bool) {
	next := Value{v.f, v.at + 9}
	for n := v.Len(); n > 0; n-- {
		var key Value
		if v.tag() == tagDict {
			key = next
			next.at = next.end()
		}
		item := next
		next.at = next.end()
		if !fn(key, item) {
			return
		}
	}
}

// Items returns the items of a list or tuple, or the values of a dict.
func (v Value) Items() []Value {
	items := make([]Value, 0, v.Len())
	v.Each(func(_, item Value) bool {
		items = append(items, item)
		return true
	})
	return items
}

// Pairs returns the pairs of a dict.
func (v Value) Pairs() []Pair {
	if v.Kind() != Dict {
		return nil
	}
	pairs := make([]Pair, 0, v.Len())
	v.Each(func(key, item Value) bool {
		pairs = append(pairs, Pair{key, item})
		return true
	})
	return pairs
}
