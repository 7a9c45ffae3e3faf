package cairn

// A DTypeClass says how the elements of a dtype lie in its groups (SPEC §7.3).
type DTypeClass uint8

const (
	Scalar DTypeClass = iota // one element a group
	Packed                   // elements of a few bits, from the low bits of the group on
	Block                    // elements that only the dtype's own decoder can take apart
)

// A DType is an element type: a name and a geometry. Names that this package does not know are legal.
type DType struct {
	Name     string
	Class    DTypeClass
	Elements uint32 // per group
	Bytes    uint32 // per group
}

// Align returns the alignment of tensors of this dtype within their buffer.
func (d DType) Align() uint64 {
	a := uint64(d.Bytes) & -uint64(d.Bytes)
	if a > 64 {
		a = 64
	}
	return a
}

// registry is the table of SPEC §10.
var registry = func() map[string]DType {
	m := map[string]DType{}
	add := func(class DTypeClass, elements, bytes uint32, names ...string) {
		for _, n := range names {
			m[n] = DType{n, class, elements, bytes}
		}
	}
	add(Scalar, 1, 1, "bool", "i8", "u8", "f8_e3m4", "f8_e4m3", "f8_e4m3b11fnuz", "f8_e4m3fn", "f8_e4m3fnuz", "f8_e5m2", "f8_e5m2fnuz", "f8_e8m0fnu")
	add(Scalar, 1, 2, "i16", "u16", "f16", "bf16")
	add(Scalar, 1, 4, "i32", "u32", "f32", "c32")
	add(Scalar, 1, 8, "i64", "u64", "f64", "c64")
	add(Scalar, 1, 16, "c128")
	add(Packed, 4, 3, "f6_e2m3fn", "f6_e3m2fn")
	add(Packed, 2, 1, "f4_e2m1fn", "i4", "u4")
	add(Packed, 4, 1, "i2", "u2")
	add(Packed, 8, 1, "i1", "u1")
	for _, b := range []struct {
		name            string
		elements, bytes uint32
	}{
		{"q4_0", 32, 18}, {"q4_1", 32, 20}, {"q5_0", 32, 22}, {"q5_1", 32, 24}, {"q8_0", 32, 34}, {"q8_1", 32, 36},
		{"q2_k", 256, 84}, {"q3_k", 256, 110}, {"q4_k", 256, 144}, {"q5_k", 256, 176}, {"q6_k", 256, 210}, {"q8_k", 256, 292},
		{"iq2_xxs", 256, 66}, {"iq2_xs", 256, 74}, {"iq2_s", 256, 82}, {"iq3_xxs", 256, 98}, {"iq3_s", 256, 110},
		{"iq1_s", 256, 50}, {"iq1_m", 256, 56}, {"iq4_nl", 32, 18}, {"iq4_xs", 256, 136}, {"tq1_0", 256, 54}, {"tq2_0", 256, 66},
		{"mxfp4", 32, 17}, {"nvfp4", 64, 36}, {"q1_0", 128, 18}, {"q2_0", 64, 18},
	} {
		add(Block, b.elements, b.bytes, b.name)
	}
	return m
}()

// legalName reports whether s has the registered or the private form of SPEC §7.3. It does not judge the length 0: "" is not legal.
func legalName(s string) bool {
	registered, private, dot := true, true, false
	for i := 0; i < len(s); i++ {
		b := s[i]
		registered = registered && (b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '_')
		private = private && b >= 0x21 && b <= 0x7E
		dot = dot || b == '.'
	}
	return s != "" && (registered || private && dot)
}
