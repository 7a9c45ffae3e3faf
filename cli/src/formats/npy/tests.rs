use super::*;

/// A file by hand.
fn file(version: u8, literal: &str, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(literal.len()).unwrap().to_le_bytes();
    let wide: &[u8] = if version == 1 { &[] } else { &[0, 0] };
    [b"\x93NUMPY", &[version, 0][..], &len, wide, literal.as_bytes(), data].concat()
}

fn of(descr: &str, data: &[u8]) -> Result<Tensor<'static>, Failure> {
    let literal = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (), }}\n");
    read(Storage::shared(file(1, &literal, data)))
}

fn written(tensor: &Tensor<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, tensor).unwrap();
    out
}

#[test]
fn literals() {
    let shape = |literal: &str| read(Storage::shared(file(1, literal, &[0; 24]))).map(|t| t.shape().to_vec()).map_err(|f| f.to_string());
    assert_eq!(shape("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n"), Ok(vec![2, 3]));
    assert_eq!(shape("{\"shape\":(2L,3L,),\"fortran_order\":True,\"descr\":\"<f4\"}"), Ok(vec![2, 3]));
    assert_eq!(shape(" { 'descr' : '|u1' , 'fortran_order' : False , 'shape' : ( 24 , ) } "), Ok(vec![24]));
    for bad in [
        "",
        "{}",
        "{'descr': '<f4'",
        "[1]",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (6)}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (6,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-6,)}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), 'x': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (6,)} x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '<f\\x34', 'fortran_order': False, 'shape': (6,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 0)}",
        "{'descr': '<f4' 'fortran_order': False, 'shape': (6,)}",
    ] {
        assert!(shape(bad).is_err(), "{bad}");
    }
    assert!(shape("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,)}").unwrap_err().contains("structured"));
    assert!(shape("{'descr': '|O', 'fortran_order': False, 'shape': (3,)}").unwrap_err().contains("pickled"));
}

#[test]
fn every_cut_is_refused() {
    let whole = file(2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", &[0; 8]);
    assert!(read(Storage::shared(whole.clone())).is_ok());
    for len in 0..whole.len() {
        assert!(read(Storage::shared(whole[..len].to_vec())).is_err(), "{len}");
    }
    assert!(read(Storage::shared([&whole[..], &[0]].concat())).is_err());
    let mut newer = whole;
    newer[6] = 4;
    assert!(read(Storage::shared(newer)).is_err_and(|f| f.exit_code() == 3));
}

#[test]
fn types_there_and_back() {
    for (descr, name, item) in [
        ("|b1", "bool", 1),
        ("|i1", "i8", 1),
        ("<i2", "i16", 2),
        ("<i4", "i32", 4),
        ("<i8", "i64", 8),
        ("|u1", "u8", 1),
        ("<u2", "u16", 2),
        ("<u4", "u32", 4),
        ("<u8", "u64", 8),
        ("<f2", "f16", 2),
        ("<f4", "f32", 4),
        ("<f8", "f64", 8),
        ("<c8", "c64", 8),
        ("<c16", "c128", 16),
        ("<M8[ns]", "numpy.M8[ns]", 8),
        ("<m8[25s]", "numpy.m8[25s]", 8),
        ("<M8", "numpy.M8", 8),
        ("|S3", "numpy.S3", 3),
        ("<U5", "numpy.U5", 20),
        ("|V12", "numpy.V12", 12),
        ("<f16", "numpy.f16", 16),
        ("<c32", "numpy.c32", 32),
        ("|V2", "numpy.V2", 2),
    ] {
        let tensor = of(descr, &vec![1; item]).unwrap();
        assert_eq!(tensor.dtype().name(), name);
        assert!(String::from_utf8_lossy(&written(&tensor)).contains(&format!("'descr': '{descr}'")), "{descr}");
    }
    for descr in [
        "=f4",
        "|f4",
        "f4",
        "<",
        "",
        "<O8",
        "|O",
        "<f04",
        "<f",
        "<x4",
        "<M8[n s]",
        "<M4",
        ">f16",
        "|S0",
        "<U0",
        "<V70000",
        "<c3",
        "<f4294967296",
    ] {
        assert!(of(descr, &[0; 4]).is_err_and(|f| f.exit_code() == 3 || descr.contains(' ')), "{descr}");
    }
}

#[test]
fn big_endian_is_turned_around() {
    let bytes = |descr: &str, data: &[u8]| of(descr, data).unwrap().row_major_bytes().unwrap().into_owned();
    assert_eq!(bytes(">i4", &[1, 2, 3, 4]), [4, 3, 2, 1]);
    assert_eq!(bytes(">c8", &[1, 2, 3, 4, 5, 6, 7, 8]), [4, 3, 2, 1, 8, 7, 6, 5]);
    assert_eq!(bytes(">M8[s]", &[1, 2, 3, 4, 5, 6, 7, 8]), [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(bytes(">U2", &[0, 0, 0, b'a', 0, 0, 0, b'b']), [b'a', 0, 0, 0, b'b', 0, 0, 0]);
    assert_eq!(bytes(">S2", b"ab"), b"ab");
}

#[test]
fn bools_are_checked() {
    assert!(of("|b1", &[2]).is_err_and(|f| f.to_string().contains("element 0 is the byte 2")));
}

#[test]
fn column_major_stays() {
    let literal = "{'descr': '<u2', 'fortran_order': True, 'shape': (2, 3), }\n";
    let tensor = read(Storage::shared(file(1, literal, &[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]))).unwrap();
    assert_eq!(tensor.byte_strides(), Some(&[2, 4][..]));
    assert_eq!(*tensor.row_major_bytes().unwrap(), [1, 0, 3, 0, 5, 0, 2, 0, 4, 0, 6, 0]);
    let again = written(&tensor);
    assert!(again.ends_with(&[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]));
    assert_eq!(read(Storage::shared(again)).unwrap(), tensor);
    // A vector is row-major whatever the flag says.
    let vector = read(Storage::shared(file(1, "{'descr': '|u1', 'fortran_order': True, 'shape': (2,), }\n", &[1, 2]))).unwrap();
    assert!(String::from_utf8_lossy(&written(&vector)).contains("'fortran_order': False"));
}

/// What `np.save` of NumPy 2.4.6 writes, byte for byte.
#[test]
fn as_numpy_writes_it() {
    let header = |literal: &str| [&b"\x93NUMPY\x01\0v\0"[..], format!("{literal:<117}\n").as_bytes()].concat();
    let matrix = Tensor::from_vec(&[2, 3], vec![0.0f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    assert_eq!(written(&matrix)[..128], header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"));
    let scalar = Tensor::from_vec(&[], vec![7u8]).unwrap();
    assert_eq!(written(&scalar), [&header("{'descr': '|u1', 'fortran_order': False, 'shape': (), }")[..], &[7]].concat());
    let turned = Tensor::view(DType::U16, &[2, 3], Some(&[2, 4]), Storage::shared(vec![0; 12]), 0).unwrap();
    assert_eq!(written(&turned)[..128], header("{'descr': '<u2', 'fortran_order': True, 'shape': (2, 3), }"));
    let dates = Tensor::new(DType::private("numpy.M8[ns]", GroupClass::Scalar, 1, 8).unwrap(), &[5], Storage::shared(vec![0; 40])).unwrap();
    assert_eq!(written(&dates)[..128], header("{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (5,), }"));
}
