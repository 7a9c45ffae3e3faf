//! Element types: names and the geometry all rules follow from. `Spec §7.3, §10`.

use std::fmt;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian};
use nom::Parser;

use crate::bytes::{Input, Parsed, put_u32, refuse, slice};
use crate::error::{Code, Error, Result};
use crate::limits::{MAX_GROUP_BYTES, MAX_NAME_LEN};

/// How elements lie in a group. `Spec §7.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupClass {
    /// One element a group: an ordinary number.
    Scalar,
    /// A row-major sequence of elements below or across bytes, from the low bits.
    Packed,
    /// The last axis in whole groups that only their codec can take apart.
    Block,
}

impl GroupClass {
    /// `scalar`, `packed` or `block`, as in SPEC.md.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Packed => "packed",
            Self::Block => "block",
        }
    }

    fn from_tag(tag: u8) -> Option<Self> {
        [Self::Scalar, Self::Packed, Self::Block].into_iter().find(|c| c.tag() == tag)
    }

    const fn tag(self) -> u8 {
        match self {
            Self::Scalar => 0,
            Self::Packed => 1,
            Self::Block => 2,
        }
    }
}

/// Elements and bytes of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// How elements lie in a group.
    pub class: GroupClass,
    /// Elements per group; 1 for scalars.
    pub elements: u32,
    /// Bytes per group, 1 to 65535.
    pub bytes: u32,
}

impl Geometry {
    /// Where a tensor may begin in its buffer: the largest power of two that divides the bytes per group, at most 64.
    pub const fn alignment(self) -> u64 {
        let power = self.bytes.trailing_zeros();
        1 << if power < 6 { power } else { 6 }
    }

    /// Bits of one element; `None` for blocks, whose elements have no bits of their own.
    pub const fn element_bits(self) -> Option<u32> {
        match self.class {
            GroupClass::Block => None,
            _ => Some(self.bytes * 8 / self.elements),
        }
    }

    fn fault(self) -> Option<&'static str> {
        if self.bytes == 0 || self.bytes > MAX_GROUP_BYTES {
            return Some("a group has 1 to 65535 bytes");
        }
        match self.class {
            GroupClass::Scalar if self.elements != 1 => Some("a scalar group has one element"),
            GroupClass::Packed | GroupClass::Block if self.elements < 2 => Some("a group of this class has two elements or more"),
            GroupClass::Packed if !(self.bytes * 8).is_multiple_of(self.elements) => Some("a packed group's bits must divide evenly"),
            _ => None,
        }
    }
}

/// An element type: a name and its geometry.
///
/// ```
/// use cairnfile::DType;
/// assert_eq!(DType::F32.name(), "f32");
/// assert_eq!(DType::from_name("bf16"), Some(DType::BF16));
/// let void = DType::private("numpy.V12", cairnfile::GroupClass::Scalar, 1, 12).unwrap();
/// assert_eq!(void.geometry().alignment(), 4);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DType(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Registered(u8),
    Carried(Arc<(String, Geometry)>),
}

struct Registered {
    name: &'static str,
    geometry: Geometry,
}

macro_rules! registry {
    ($($constant:ident $name:literal $class:ident $elements:literal $bytes:literal;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Position { $($constant,)* }

        const REGISTRY: &[Registered] = &[$(Registered {
            name: $name,
            geometry: Geometry { class: GroupClass::$class, elements: $elements, bytes: $bytes },
        },)*];

        impl DType {
            $(#[doc = concat!("`", $name, "`, see the table in SPEC.md §10.")]
            pub const $constant: Self = Self(Repr::Registered(Position::$constant as u8));)*
        }
    };
}

registry! {
    BOOL "bool" Scalar 1 1;
    I8 "i8" Scalar 1 1;
    I16 "i16" Scalar 1 2;
    I32 "i32" Scalar 1 4;
    I64 "i64" Scalar 1 8;
    U8 "u8" Scalar 1 1;
    U16 "u16" Scalar 1 2;
    U32 "u32" Scalar 1 4;
    U64 "u64" Scalar 1 8;
    F16 "f16" Scalar 1 2;
    BF16 "bf16" Scalar 1 2;
    F32 "f32" Scalar 1 4;
    F64 "f64" Scalar 1 8;
    C32 "c32" Scalar 1 4;
    C64 "c64" Scalar 1 8;
    C128 "c128" Scalar 1 16;
    F8_E3M4 "f8_e3m4" Scalar 1 1;
    F8_E4M3 "f8_e4m3" Scalar 1 1;
    F8_E4M3B11FNUZ "f8_e4m3b11fnuz" Scalar 1 1;
    F8_E4M3FN "f8_e4m3fn" Scalar 1 1;
    F8_E4M3FNUZ "f8_e4m3fnuz" Scalar 1 1;
    F8_E5M2 "f8_e5m2" Scalar 1 1;
    F8_E5M2FNUZ "f8_e5m2fnuz" Scalar 1 1;
    F8_E8M0FNU "f8_e8m0fnu" Scalar 1 1;
    F6_E2M3FN "f6_e2m3fn" Packed 4 3;
    F6_E3M2FN "f6_e3m2fn" Packed 4 3;
    F4_E2M1FN "f4_e2m1fn" Packed 2 1;
    I4 "i4" Packed 2 1;
    U4 "u4" Packed 2 1;
    I2 "i2" Packed 4 1;
    U2 "u2" Packed 4 1;
    I1 "i1" Packed 8 1;
    U1 "u1" Packed 8 1;
    Q4_0 "q4_0" Block 32 18;
    Q4_1 "q4_1" Block 32 20;
    Q5_0 "q5_0" Block 32 22;
    Q5_1 "q5_1" Block 32 24;
    Q8_0 "q8_0" Block 32 34;
    Q8_1 "q8_1" Block 32 36;
    Q2_K "q2_k" Block 256 84;
    Q3_K "q3_k" Block 256 110;
    Q4_K "q4_k" Block 256 144;
    Q5_K "q5_k" Block 256 176;
    Q6_K "q6_k" Block 256 210;
    Q8_K "q8_k" Block 256 292;
    IQ2_XXS "iq2_xxs" Block 256 66;
    IQ2_XS "iq2_xs" Block 256 74;
    IQ2_S "iq2_s" Block 256 82;
    IQ3_XXS "iq3_xxs" Block 256 98;
    IQ3_S "iq3_s" Block 256 110;
    IQ1_S "iq1_s" Block 256 50;
    IQ1_M "iq1_m" Block 256 56;
    IQ4_NL "iq4_nl" Block 32 18;
    IQ4_XS "iq4_xs" Block 256 136;
    TQ1_0 "tq1_0" Block 256 54;
    TQ2_0 "tq2_0" Block 256 66;
    MXFP4 "mxfp4" Block 32 17;
    NVFP4 "nvfp4" Block 64 36;
    Q1_0 "q1_0" Block 128 18;
    Q2_0 "q2_0" Block 64 18;
}

const _: () = assert!(REGISTRY.len() < 256);

impl DType {
    /// Every registered type, in the order of SPEC.md's table.
    pub fn registered() -> impl Iterator<Item = Self> {
        (0u8..).take(REGISTRY.len()).map(|i| Self(Repr::Registered(i)))
    }

    /// The registered type called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::registered().find(|d| d.name() == name)
    }

    /// A type of one's own, its name with a dot; its bytes are carried as they are.
    ///
    /// # Errors
    /// `dtype-name` if the name has not the private form of SPEC.md §7.3 (names without a dot belong to the registry), `dtype-geometry` if the group does not fit the
    /// class, `dtype-registered` if the name is registered with another geometry.
    pub fn private(name: &str, class: GroupClass, elements: u32, bytes: u32) -> Result<Self> {
        if !name.contains('.') && Self::from_name(name).is_none() {
            return Err(Error::new(Code::DtypeName, format!("{name:?} is not a registered dtype; a private name has a dot")));
        }
        Self::checked(name.as_bytes(), Geometry { class, elements, bytes }).map_err(|(code, why)| Error::new(code, why))
    }

    /// The name, as it is stored.
    pub fn name(&self) -> &str {
        match &self.0 {
            Repr::Registered(i) => REGISTRY[usize::from(*i)].name,
            Repr::Carried(carried) => &carried.0,
        }
    }

    /// Elements and bytes per group.
    pub fn geometry(&self) -> Geometry {
        match &self.0 {
            Repr::Registered(i) => REGISTRY[usize::from(*i)].geometry,
            Repr::Carried(carried) => carried.1,
        }
    }

    /// Whether this crate knows what the elements mean.
    pub fn is_registered(&self) -> bool {
        matches!(self.0, Repr::Registered(_))
    }

    fn checked(name: &[u8], geometry: Geometry) -> std::result::Result<Self, (Code, String)> {
        let Some(text) = type_name(name) else {
            return Err((Code::DtypeName, format!("dtype name \"{}\" has neither form of a name", name.escape_ascii())));
        };
        if let Some(why) = geometry.fault() {
            return Err((Code::DtypeGeometry, format!("dtype {text}: {why}")));
        }
        match Self::from_name(text) {
            Some(known) if known.geometry() == geometry => Ok(known),
            Some(known) => Err((Code::DtypeRegistered, format!("dtype {text} must be {:?}, found {geometry:?}", known.geometry()))),
            None => Ok(Self(Repr::Carried(Arc::new((text.to_owned(), geometry))))),
        }
    }

    /// Parses one record of the dtype table, with every rule that concerns it alone.
    pub(crate) fn parse(input: Input<'_>) -> Parsed<'_, Self> {
        let (rest, record) = record(input)?;
        let Some(class) = GroupClass::from_tag(record.class) else {
            return refuse(Error::at(Code::DtypeClass, input.offset + 8, format!("dtype class {} is not defined", record.class)));
        };
        let geometry = Geometry { class, elements: record.elements, bytes: record.bytes };
        match Self::checked(record.name, geometry) {
            Ok(dtype) => Ok((rest, dtype)),
            Err((code, why)) => refuse(Error::at(code, input.offset, why)),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let geometry = self.geometry();
        put_u32(out, geometry.elements);
        put_u32(out, geometry.bytes);
        // Both constructors bound the name to 255 bytes.
        let name_len = u8::try_from(self.name().len()).unwrap_or(u8::MAX);
        out.extend_from_slice(&[geometry.class.tag(), name_len]);
        out.extend_from_slice(self.name().as_bytes());
    }
}

struct Record<'a> {
    elements: u32,
    bytes: u32,
    class: u8,
    name: &'a [u8],
}

fn record(input: Input<'_>) -> Parsed<'_, Record<'_>> {
    let (rest, fixed) = slice(10).parse(input)?;
    let (rest, name) = slice(fixed[9].into()).parse(rest)?;
    let (elements, bytes) = (LittleEndian::read_u32(fixed), LittleEndian::read_u32(&fixed[4..]));
    Ok((rest, Record { elements, bytes, class: fixed[8], name }))
}

/// The geometry of a record that was validated before; cheaper than [`DType::parse`].
pub(crate) fn geometry_of(input: Input<'_>) -> Parsed<'_, Geometry> {
    let (rest, record) = record(input)?;
    let class = GroupClass::from_tag(record.class).unwrap_or(GroupClass::Block);
    Ok((rest, Geometry { class, elements: record.elements, bytes: record.bytes }))
}

/// The same, and whether it is [`DType::BOOL`].
pub(crate) fn element_of(input: Input<'_>) -> Parsed<'_, (Geometry, bool)> {
    let (_, record) = record(input)?;
    geometry_of(input).map(|(rest, geometry)| (rest, (geometry, record.name == DType::BOOL.name().as_bytes())))
}

/// Fewest bytes of a dtype record.
pub(crate) const MIN_RECORD: usize = 11;

/// A dtype's or a named value's name, if it has the registered form `[a-z0-9_]+` or the private form: visible ASCII
/// with a dot.
pub(crate) fn type_name(name: &[u8]) -> Option<&str> {
    let registered = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_';
    let formed = name.iter().all(registered) || (name.iter().all(u8::is_ascii_graphic) && name.contains(&b'.'));
    let fits = (1..=MAX_NAME_LEN).contains(&name.len());
    (fits && formed).then(|| std::str::from_utf8(name).ok()).flatten()
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::finish;

    #[test]
    fn every_registered_type_round_trips() {
        for dtype in DType::registered() {
            assert_eq!(dtype.geometry().fault(), None);
            let mut bytes = Vec::new();
            dtype.encode(&mut bytes);
            let (rest, back) = finish(DType::parse(Input::new(&bytes, 0))).unwrap();
            assert_eq!((back, rest.bytes.len()), (dtype.clone(), 0));
            assert!(dtype.is_registered());
            assert_eq!(DType::from_name(dtype.name()), Some(dtype));
        }
    }

    #[test]
    fn alignment_is_bounded() {
        let of = |bytes| Geometry { class: GroupClass::Scalar, elements: 1, bytes }.alignment();
        assert_eq!([1, 2, 18, 24, 64, 128, 32768].map(of), [1, 2, 2, 8, 64, 64, 64]);
    }

    #[test]
    fn blocks_have_no_bits_of_one_element() {
        let bits = [DType::F32, DType::C128, DType::Q4_0, DType::I4].map(|dtype| dtype.geometry().element_bits());
        assert_eq!(bits, [Some(32), Some(128), None, Some(4)]);
    }

    #[test]
    fn names_have_two_forms() {
        assert!(["f32", "a.b", "Numpy.<M8[ns]>", "_"].iter().all(|n| type_name(n.as_bytes()).is_some()));
        assert!(["", "F32", "a b.c", "a-b", "ä.b"].iter().all(|n| type_name(n.as_bytes()).is_none()));
        assert!(type_name(&[b'a'; 255]).is_some() && type_name(&[b'a'; 256]).is_none());
    }
    #[test]
    fn a_type_of_ones_own_is_not_registered() {
        let own = DType::private("lab.pair", GroupClass::Scalar, 1, 8).unwrap();
        assert_eq!((own.name(), own.is_registered(), format!("{own} {own:?}")), ("lab.pair", false, "lab.pair lab.pair".to_owned()));
    }
}
