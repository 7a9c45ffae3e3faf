//! Everything about one file, held against each other.

use cairnfile::repair::{self, Repair};
use cairnfile::{Cairn, Class, Code, Error, GroupClass, Level, Node, Report, Result, TensorRef, ValueRef, element};

/// Values whose addresses are looked up; each costs a walk.
const LOOKUPS: usize = 64;

pub fn refusal(error: &Error, data: &[u8]) {
    // A streamed file is read by its trailer, and a planned one's is looked at: there these are found at open.
    let trailer = matches!(error.code(), Code::TrailerMagic | Code::TrailerCrc | Code::TrailerMismatch);
    assert!(error.code().level() == Level::Open || trailer, "{error}");
    assert!(error.offset().is_none_or(|at| at <= data.len() as u64), "{error} in {} bytes", data.len());
    assert!(!error.to_string().is_empty() && !error.section().is_empty());
}

/// Looking at the trailer adds only refusals that `verify` has too.
pub fn strictness(lenient: &Result<Cairn<'_>>, strict: &Result<Cairn<'_>>) {
    match (lenient, strict) {
        (Ok(_), Ok(_)) => {}
        (Err(a), Err(b)) => assert_eq!((a.code(), a.offset(), a.detail()), (b.code(), b.offset(), b.detail())),
        (Ok(cairn), Err(error)) => {
            let report = cairn.verify(&|_| Ok(())).expect("memory can be read");
            let known = report.faults.iter().any(|f| (f.error.code(), f.error.offset()) == (error.code(), error.offset()));
            assert!(known, "{error}");
        }
        (Err(error), Ok(_)) => panic!("only refused without a look at the trailer: {error}"),
    }
}

/// A file that opens with a look at the trailer if `opens` says so, and without one if there is a `report`: what can be mended
/// of it is mended.
pub fn mending(data: &[u8], opens: bool, report: Option<&Report>) {
    let read = |at: u64, len: u64| Ok(data[at as usize..(at + len) as usize].to_vec());
    let len = data.len() as u64;
    match (repair::plan(&read, len), report) {
        (Ok(repair), report) => {
            let nothing = repair.is_empty(len);
            assert!(report.is_none_or(|report| only_data(report) == nothing), "{repair:?}");
            // Where there is nothing to mend, the mended file is the file.
            if nothing { assert!(opens && report.is_some()) } else { mended(data, &repair) }
        }
        (Err(error), Some(_)) => {
            let ambiguous = error.code() == Code::TrailerMismatch || error.class() == Class::Unsupported;
            assert!(ambiguous, "opens, but cannot be repaired: {error}");
        }
        (Err(_), None) => {
            if let Ok(repair) = repair::structure(&read, len) {
                mended(data, &repair);
            }
        }
    }
}

/// A mended file opens, only its data may still be damaged, and there is nothing more to mend.
fn mended(data: &[u8], repair: &Repair) {
    if repair.file_len >= 1 << 22 {
        return;
    }
    let mut mended = data.to_vec();
    mended.resize(repair.file_len as usize, 0);
    for patch in &repair.patches {
        mended[patch.offset as usize..][..patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    let cairn = super::open(&mended, true).expect("a mended file opens");
    let report = cairn.verify(&|_| Ok(())).expect("memory can be read");
    assert!(only_data(&report), "{:?}", report.faults);
    let read = |at: u64, len: u64| Ok(mended[at as usize..(at + len) as usize].to_vec());
    let again = repair::plan(&read, mended.len() as u64).expect("it opens");
    assert!(again.is_empty(mended.len() as u64), "{again:?}");
}

/// Whether the only damage is in buffers.
fn only_data(report: &Report) -> bool {
    report.faults.iter().all(|fault| fault.buffer.is_some())
}

/// `fresh` is the same file, opened anew: `cairn` remembers what it verified.
pub fn accepted(cairn: &Cairn<'_>, fresh: Cairn<'_>, data: &[u8]) -> Report {
    assert_eq!(cairn.file_len(), data.len() as u64);
    assert!(cairn.dtypes().iter().all(|dtype| !dtype.name().is_empty()));
    assert!(cairn.extensions().all(|(tag, _)| tag != 0));
    values(cairn.metadata());
    values(cairn.root());
    let mut opaque = false;
    let mut readable = true;
    for tensor in cairn.tensors() {
        match self::tensor(&tensor, cairn, data) {
            Ok(()) => {}
            Err(Code::BufferKind) => opaque = true,
            Err(_) => readable = false,
        }
    }
    let report = verified(cairn, readable, data);
    loaded(cairn, &fresh, !opaque && readable);
    report
}

/// Every value can be decoded, counts its items right and is found at its address.
fn values(top: ValueRef<'_>) {
    let mut lookups = LOOKUPS;
    let walk = top.visit(&mut String::new(), &mut |address, value| {
        let items = value.items().count();
        match value.node()? {
            Node::List(n) | Node::Tuple(n) | Node::Dict(n) => assert_eq!(items, n),
            Node::Named(_, inner) => assert_eq!(items, inner.items().count()),
            _ => assert_eq!(items, 0),
        }
        if lookups > 0 {
            lookups -= 1;
            assert_eq!(format!("{:?}", top.at_address(address)?), format!("{value:?}"), "at {address:?}");
        }
        Ok(())
    });
    walk.expect("an accepted file can be walked");
}

/// Whether the tensor can be read; whatever else it says has to be right.
fn tensor(tensor: &TensorRef<'_>, cairn: &Cairn<'_>, data: &[u8]) -> std::result::Result<(), Code> {
    let (dtype, shape) = (tensor.dtype().unwrap(), tensor.shape().unwrap());
    let (len, strides) = (tensor.byte_len().unwrap(), tensor.strides().unwrap());
    let whole: Vec<_> = shape.iter().map(|dim| 0..*dim).collect();
    let range = match tensor.file_range() {
        Ok(range) => range,
        Err(error) => {
            assert_eq!(tensor.read().unwrap_err().code(), error.code());
            return Err(error.code());
        }
    };
    assert_eq!(tensor.buffer().unwrap().is_none(), shape.contains(&0));
    assert!(strides.iter().all(|strides| strides.len() == shape.len()));
    if len > 0 {
        let last = data.len() as u64 - 64 - cairn.index_len();
        assert!(range.start >= 64 && range.end <= last && range.end - range.start >= len);
        assert_eq!(range.start % dtype.geometry().alignment(), 0);
    }
    let raw = &data[range.start as usize..range.end as usize];
    assert_eq!(tensor.bytes_unchecked().unwrap(), Some(raw));
    let read = match tensor.read() {
        Ok(read) => read,
        Err(error) => {
            assert!(matches!(error.code(), Code::BlockCrc | Code::BoolValue | Code::TailBits), "{error}");
            assert!(error.offset().is_some_and(|at| at < data.len() as u64));
            // A slice of packed elements is a copy of them alone, so what is behind the last one stays unseen.
            assert!(tensor.slice(&whole).is_err() || error.code() == Code::TailBits);
            return Err(error.code());
        }
    };
    assert_eq!((read.dtype(), read.shape(), read.span().unwrap()), (dtype, &shape[..], raw));
    let bytes = read.row_major_bytes().unwrap();
    assert_eq!(bytes.len() as u64, len);
    assert!(tensor.slice(&whole).unwrap().same_elements(&read));
    if let Some(rows) = shape.first().filter(|_| dtype.geometry().class != GroupClass::Block) {
        halves(tensor, &bytes, *rows);
    }
    element::decode(dtype, &bytes, read.element_count().saturating_sub(1));
    Ok(())
}

/// The rows in two halves are the rows.
fn halves(tensor: &TensorRef<'_>, bytes: &[u8], rows: u64) {
    let dtype = tensor.dtype().unwrap();
    let (head, tail) = (tensor.rows(0..rows / 2).unwrap(), tensor.rows(rows / 2..rows).unwrap());
    let (a, b) = (head.row_major_bytes().unwrap(), tail.row_major_bytes().unwrap());
    if dtype.geometry().class == GroupClass::Scalar {
        assert_eq!([a, b].concat(), bytes);
        return;
    }
    for i in 0..tail.element_count().min(64) {
        let whole = element::decode(dtype, bytes, head.element_count() + i);
        assert_eq!(format!("{whole:?}"), format!("{:?}", element::decode(dtype, &b, i)));
    }
}

/// Reports are in order and inside the file, and agree with what tensors say.
fn verified(cairn: &Cairn<'_>, readable: bool, data: &[u8]) -> Report {
    let report = cairn.verify(&|_| Ok(())).expect("memory can be read");
    assert_eq!(report.bytes, data.len() as u64);
    assert!(report.faults.is_sorted_by_key(|f| f.error.offset()));
    for fault in &report.faults {
        let (code, at) = (fault.error.code(), fault.error.offset());
        assert!(code.level() == Level::Verify || fault.buffer.is_none(), "{}", fault.error);
        assert!(at.is_some_and(|at| at < data.len() as u64), "{}", fault.error);
        assert_eq!(fault.address.as_ref(), fault.tensors.first());
        for address in fault.tensors.iter().filter(|_| code == Code::BlockCrc) {
            let code = cairn.tensor(address).unwrap().read().unwrap_err().code();
            assert!(matches!(code, Code::BlockCrc | Code::BufferKind), "{code} at {address:?}");
        }
    }
    if report.is_intact() {
        assert!(readable, "intact, but a tensor cannot be read");
    } else if !readable {
        assert!(report.faults.iter().any(|f| f.buffer.is_some()), "a tensor cannot be read, and the report does not say why");
    }
    report
}

/// The whole loads exactly when all of its tensors do, and is the same both ways.
fn loaded(cairn: &Cairn<'_>, fresh: &Cairn<'_>, expected: bool) {
    let (view, copy) = (fresh.load(), cairn.load_copy());
    match (&view, &copy) {
        (Ok(view), Ok(copy)) => assert!(expected && view == copy),
        (Err(a), Err(b)) => assert!(!expected && (a.code(), a.offset()) == (b.code(), b.offset()), "{a} and {b}"),
        _ => panic!("{view:?} and {copy:?}"),
    }
}
