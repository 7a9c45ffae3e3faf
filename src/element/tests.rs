//! The values are those of `ml_dtypes` 0.6.0, whose 2192 codes of these types were all compared once.

use super::*;

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

/// Zeros, one and minus one, the least subnormal and normal, both ends, infinities and NaNs.
const SPOTS: &[(&str, &[(u8, f64)])] = &[
    (
        "f8_e3m4",
        &[
            (0x00, 0.0),
            (0x01, 0.015625),
            (0x0f, 0.234375),
            (0x10, 0.25),
            (0x11, 0.265625),
            (0x30, 1.0),
            (0x6f, 15.5),
            (0x70, INF),
            (0x71, NAN),
            (0x7f, NAN),
            (0x80, -0.0),
            (0xb0, -1.0),
            (0xef, -15.5),
            (0xf0, -INF),
            (0xff, NAN),
        ],
    ),
    (
        "f8_e4m3",
        &[
            (0x00, 0.0),
            (0x01, 0.001953125),
            (0x07, 0.013671875),
            (0x08, 0.015625),
            (0x09, 0.017578125),
            (0x38, 1.0),
            (0x77, 240.0),
            (0x78, INF),
            (0x79, NAN),
            (0x7f, NAN),
            (0x80, -0.0),
            (0xb8, -1.0),
            (0xf7, -240.0),
            (0xf8, -INF),
            (0xff, NAN),
        ],
    ),
    (
        "f8_e4m3b11fnuz",
        &[
            (0x00, 0.0),
            (0x01, 0.0001220703125),
            (0x07, 0.0008544921875),
            (0x08, 0.0009765625),
            (0x09, 0.0010986328125),
            (0x58, 1.0),
            (0x7f, 30.0),
            (0x80, NAN),
            (0xd8, -1.0),
            (0xff, -30.0),
        ],
    ),
    (
        "f8_e4m3fn",
        &[
            (0x00, 0.0),
            (0x01, 0.001953125),
            (0x07, 0.013671875),
            (0x08, 0.015625),
            (0x09, 0.017578125),
            (0x38, 1.0),
            (0x7e, 448.0),
            (0x7f, NAN),
            (0x80, -0.0),
            (0xb8, -1.0),
            (0xfe, -448.0),
            (0xff, NAN),
        ],
    ),
    (
        "f8_e4m3fnuz",
        &[
            (0x00, 0.0),
            (0x01, 0.0009765625),
            (0x07, 0.0068359375),
            (0x08, 0.0078125),
            (0x09, 0.0087890625),
            (0x40, 1.0),
            (0x7f, 240.0),
            (0x80, NAN),
            (0xc0, -1.0),
            (0xff, -240.0),
        ],
    ),
    (
        "f8_e5m2",
        &[
            (0x00, 0.0),
            (0x01, 1.52587890625e-05),
            (0x03, 4.57763671875e-05),
            (0x04, 6.103515625e-05),
            (0x05, 7.62939453125e-05),
            (0x3c, 1.0),
            (0x7b, 57344.0),
            (0x7c, INF),
            (0x7d, NAN),
            (0x7f, NAN),
            (0x80, -0.0),
            (0xbc, -1.0),
            (0xfb, -57344.0),
            (0xfc, -INF),
            (0xff, NAN),
        ],
    ),
    (
        "f8_e5m2fnuz",
        &[
            (0x00, 0.0),
            (0x01, 7.62939453125e-06),
            (0x03, 2.288818359375e-05),
            (0x04, 3.0517578125e-05),
            (0x05, 3.814697265625e-05),
            (0x40, 1.0),
            (0x7f, 57344.0),
            (0x80, NAN),
            (0xc0, -1.0),
            (0xff, -57344.0),
        ],
    ),
    (
        "f8_e8m0fnu",
        &[
            (0x00, 5.877471754111438e-39),
            (0x01, 1.1754943508222875e-38),
            (0x7f, 1.0),
            (0x80, 2.0),
            (0xfe, 1.7014118346046923e+38),
            (0xff, NAN),
        ],
    ),
    (
        "f6_e2m3fn",
        &[(0x00, 0.0), (0x01, 0.125), (0x07, 0.875), (0x08, 1.0), (0x09, 1.125), (0x1f, 7.5), (0x20, -0.0), (0x28, -1.0), (0x3f, -7.5)],
    ),
    (
        "f6_e3m2fn",
        &[
            (0x00, 0.0),
            (0x01, 0.0625),
            (0x03, 0.1875),
            (0x04, 0.25),
            (0x05, 0.3125),
            (0x0c, 1.0),
            (0x1f, 28.0),
            (0x20, -0.0),
            (0x2c, -1.0),
            (0x3f, -28.0),
        ],
    ),
    ("f4_e2m1fn", &[(0x00, 0.0), (0x01, 0.5), (0x02, 1.0), (0x03, 1.5), (0x07, 6.0), (0x08, -0.0), (0x0a, -1.0), (0x0f, -6.0)]),
];

fn dtype(name: &str) -> DType {
    DType::from_name(name).unwrap()
}

/// The group whose first element has these bits, and no other bits.
fn group(dtype: &DType, code: u8) -> Vec<u8> {
    let mut bytes = vec![0; dtype.geometry().bytes.try_into().unwrap()];
    bytes[0] = code;
    bytes
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

#[test]
fn minifloats() {
    for (name, spots) in SPOTS {
        for (code, expected) in *spots {
            let found = decode(&dtype(name), &group(&dtype(name), *code), 0);
            assert!(matches!(found, Some(Number::Float(x)) if same(x, *expected)), "{name} {code:#x}: {found:?}");
        }
    }
}

/// In every type the codes of one sign ascend, so a spot that is right pins its neighbours.
#[test]
fn minifloats_ascend() {
    for (name, _) in SPOTS {
        let dtype = dtype(name);
        let width = dtype.geometry().element_bits().unwrap();
        let codes = if *name == "f8_e8m0fnu" { 255 } else { 1u16 << (width - 1) };
        let values: Vec<f64> = (0..codes)
            .filter_map(|code| match decode(&dtype, &group(&dtype, code.try_into().unwrap()), 0) {
                Some(Number::Float(x)) if x.is_finite() => Some(x),
                _ => None,
            })
            .collect();
        assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "{name}");
    }
}

#[test]
fn scalars() {
    let cases: &[(&str, &[u8], Number)] = &[
        ("bool", &[0], Number::Bool(false)),
        ("bool", &[1], Number::Bool(true)),
        ("i8", &[0x80], Number::Int(-128)),
        ("i16", &[0xFE, 0xFF], Number::Int(-2)),
        ("i32", &[0, 0, 0, 0x80], Number::Int(i32::MIN.into())),
        ("i64", &[0, 0, 0, 0, 0, 0, 0, 0x80], Number::Int(i64::MIN)),
        ("u8", &[0xFF], Number::UInt(255)),
        ("u16", &[0xFF, 0xFF], Number::UInt(65535)),
        ("u32", &[0xFF; 4], Number::UInt(u32::MAX.into())),
        ("u64", &[0xFF; 8], Number::UInt(u64::MAX)),
        ("f16", &[0, 0xBC], Number::Float(-1.0)),
        ("f16", &[0xFF, 0x7B], Number::Float(65504.0)),
        ("f16", &[1, 0], Number::Float(5.960_464_477_539_063e-8)),
        ("f16", &[0, 0x7C], Number::Float(INF)),
        ("bf16", &[0x80, 0x3F], Number::Float(1.0)),
        ("bf16", &[0x80, 0xFF], Number::Float(-INF)),
        ("f32", &[0xCD, 0xCC, 0xCC, 0x3D], Number::Float(0.1f32.into())),
        ("f64", &[0, 0, 0, 0, 0, 0, 0xF8, 0xBF], Number::Float(-1.5)),
        ("c32", &[0, 0x3C, 0, 0xC0], Number::Complex(1.0, -2.0)),
        ("c64", &[0, 0, 0x80, 0x3F, 0, 0, 0, 0x40], Number::Complex(1.0, 2.0)),
        ("c128", &[0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0, 0, 0, 0, 0, 0, 0xF0, 0xBF], Number::Complex(1.0, -1.0)),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(decode(&dtype(name), bytes, 0), Some(*expected), "{name}");
        assert_eq!(decode(&dtype(name), &bytes[1..], 0), None, "{name}");
        let twice = [&vec![0; bytes.len()], *bytes].concat();
        assert_eq!(decode(&dtype(name), &twice, 1), Some(*expected), "{name}");
    }
    for (name, nan) in [("f16", vec![1, 0x7C]), ("bf16", vec![0xC0, 0x7F]), ("f32", vec![0xFF; 4])] {
        assert!(matches!(decode(&dtype(name), &nan, 0), Some(Number::Float(x)) if x.is_nan()), "{name}");
    }
}

#[test]
fn packed_elements_are_counted_from_the_low_bits() {
    let all =
        |name: &str, bytes: &[u8]| -> Vec<String> { (0..).map_while(|i| decode(&dtype(name), bytes, i)).map(|n| n.to_string()).collect() };
    assert_eq!(all("u4", &[0x21, 0xF3]), ["1", "2", "3", "15"]);
    assert_eq!(all("i4", &[0x87]), ["7", "-8"]);
    assert_eq!(all("u2", &[0b11_10_01_00]), ["0", "1", "2", "3"]);
    assert_eq!(all("i2", &[0b11_10_01_00]), ["0", "1", "-2", "-1"]);
    assert_eq!(all("u1", &[0b1000_0101]), ["1", "0", "1", "0", "0", "0", "0", "1"]);
    assert_eq!(all("i1", &[0b0000_0010])[..3], ["0", "-1", "0"]);
    assert_eq!(all("f4_e2m1fn", &[0x27]), ["6.0", "1.0"]);
    // Codes 1, 8, 0x1F and 0x20 of six bits each: 0x81F201.
    assert_eq!(all("f6_e2m3fn", &[0x01, 0xF2, 0x81]), ["0.125", "1.0", "7.5", "-0.0"]);
}

#[test]
fn what_is_no_number() {
    let private = DType::private("a.b", GroupClass::Scalar, 1, 4).unwrap();
    assert_eq!(decode(&DType::Q4_0, &[0; 18], 0), None);
    assert_eq!(decode(&private, &[0; 4], 0), None);
    assert_eq!(decode(&DType::F32, &[0; 4], u64::MAX), None);
    assert_eq!(decode(&DType::F6_E2M3FN, &[0; 2], 0), None);
    for dtype in DType::registered().filter(|d| d.geometry().class != GroupClass::Block) {
        assert!(decode(&dtype, &[0; 16], 0).is_some(), "{dtype}");
    }
}

#[test]
fn display() {
    let shown = [Number::Float(1.0), Number::Float(1e300), Number::Float(-0.0), Number::Complex(1.5, -2.0), Number::Complex(0.0, NAN)];
    assert_eq!(shown.map(|n| n.to_string()), ["1.0", "1e300", "-0.0", "1.5-2.0j", "0.0+NaNj"]);
    assert_eq!(Number::Complex(0.0, 1.0).to_string(), "0.0+1.0j");
    assert_eq!([Number::Bool(true), Number::Int(-3), Number::UInt(3)].map(|n| n.to_string()), ["true", "-3", "3"]);
}
