package cairn

import (
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A token is one step of an address: a key as it is spelled in the index, and the position it names in a list or tuple, or -1.
type token struct {
	key      string
	position int64
}

// Get returns the value at an address of SPEC §9.7: "" is the root, "/layers/3/weight" a place below. An int key is written ~i and its
// digits, a bytes key ~b and its bytes in hexadecimal; within a str key ~ is written ~0 and / is written ~1.
func (f *File) Get(address string) (Value, error) { return f.Root().Get(address) }

// Get returns the value at an address that begins at v.
func (v Value) Get(address string) (Value, error) {
	tokens, ok := parseAddress(address)
	if !ok {
		return Value{}, refuse(BadAddress, -1, "%q", address)
	}
	for _, t := range tokens {
		for v.Kind() == Named {
			_, v, _ = v.Named()
		}
		found, next := false, Value{}
		i, dict := int64(0), v.Kind() == Dict
		v.Each(func(key, item Value) bool {
			if dict {
				found = v.f.index[key.at:key.end()] == t.key
			} else {
				found = i == t.position
			}
			i++
			next = item
			return !found
		})
		if !found {
			return Value{}, refuse(NotFound, -1, "%q", address)
		}
		v = next
	}
	return v, nil
}

// GetTensor returns the tensor at an address, also one inside a named value there.
func (f *File) GetTensor(address string) (*Tensor, error) {
	v, err := f.Get(address)
	if err != nil {
		return nil, err
	}
	for v.Kind() == Named {
		_, v, _ = v.Named()
	}
	return v.Tensor()
}

func parseAddress(address string) ([]token, bool) {
	if address == "" {
		return nil, true
	}
	if address[0] != '/' || !utf8.ValidString(address) {
		return nil, false
	}
	var tokens []token
	for _, s := range strings.Split(address[1:], "/") {
		t, ok := parseToken(s)
		if !ok {
			return nil, false
		}
		tokens = append(tokens, t)
	}
	return tokens, true
}

func parseToken(s string) (t token, ok bool) {
	t.position = -1
	switch {
	case strings.HasPrefix(s, "~i"):
		n, ok := new(big.Int).SetString(s[2:], 10)
		if !ok || n.String() != s[2:] || !n.IsInt64() {
			return t, false
		}
		t.key = spell(tagInt, 8, uint64(n.Int64()), "")
	case strings.HasPrefix(s, "~b"):
		hex := s[2:]
		if len(hex)%2 != 0 || strings.Trim(hex, "0123456789abcdef") != "" {
			return t, false
		}
		b := make([]byte, len(hex)/2)
		for i := range b {
			n, _ := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
			b[i] = byte(n)
		}
		t.key = spell(tagBytes, 4, uint64(len(b)), string(b))
	default:
		for i := 0; i < len(s); i++ {
			if s[i] == '~' && (i+1 == len(s) || s[i+1] != '0' && s[i+1] != '1') {
				return t, false
			}
		}
		if n, err := strconv.ParseUint(s, 10, 32); err == nil && strconv.FormatUint(n, 10) == s {
			t.position = int64(n)
		}
		s = strings.NewReplacer("~1", "/", "~0", "~").Replace(s)
		t.key = spell(tagStr, 4, uint64(len(s)), s)
	}
	return t, true
}

// spell returns tag, number in size bytes, text.
func spell(tag byte, size int, number uint64, text string) string {
	b := []byte{tag}
	for i := 0; i < size; i++ {
		b = append(b, byte(number>>(8*i)))
	}
	return string(b) + text
}

// token returns the spelling of a key in an address.
func (v Value) token() string {
	switch v.Kind() {
	case Int:
		n, _ := v.Int64()
		return "~i" + strconv.FormatInt(n, 10)
	case Bytes:
		const digits = "0123456789abcdef"
		s := "~b"
		for _, c := range []byte(v.text()) {
			s += string([]byte{digits[c>>4], digits[c&15]})
		}
		return s
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(v.text())
}

// addresses calls fn with the number of every tensor leaf and its address, until fn returns false.
func (v Value) addresses(prefix string, fn func(tensor int, address string) bool) bool {
	for v.Kind() == Named {
		_, v, _ = v.Named()
	}
	if v.Kind() == TensorKind {
		return fn(int(u32(v.f.index, v.at+1)), prefix)
	}
	more, i := true, 0
	v.Each(func(key, item Value) bool {
		switch item.Kind() {
		case TensorKind, Named, List, Tuple, Dict:
			step := strconv.Itoa(i)
			if v.Kind() == Dict {
				step = key.token()
			}
			more = item.addresses(prefix+"/"+step, fn)
		}
		i++
		return more
	})
	return more
}
