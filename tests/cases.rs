//! The library against a catalogue of files made by a builder that validates nothing: each verdict, class and code as
//! SPEC.md predicts, by all three ways of opening.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use cairnfile::{Cairn, Code, Level, OpenOptions, Result, Value};
use support::{Case, Expect, OPAQUE_TENSOR};

fn at_open(bytes: &[u8]) -> Result<Cairn<'_>> {
    OpenOptions::new().check_trailer(false).from_bytes(bytes)
}

/// The verdict at levels O and V: the first fault of the file, or a tensor that only an extension can read.
fn at_verify(cairn: &Cairn<'_>) -> Result<()> {
    let report = cairn.verify(&|_| Ok(()))?;
    match report.faults.into_iter().next() {
        Some(fault) => Err(fault.error),
        None => cairn.tensors().try_for_each(|tensor| tensor.read().map(drop)),
    }
}

fn judge(name: &str, stage: &str, expect: &Expect, outcome: Result<()>, wrong: &mut Vec<String>) {
    let found = outcome.as_ref().map_or_else(|e| e.code().name(), |()| "accept");
    let expected = match expect {
        Expect::Accept => "accept",
        Expect::Reject(code) => code,
    };
    if found != expected {
        wrong.push(format!("{name} at {stage}: expected {expected}, found {found}: {outcome:?}"));
    }
}

fn check(case: &Case, wrong: &mut Vec<String>) {
    let opened = at_open(&case.bytes);
    let verified = opened.as_ref().map(at_verify);
    judge(case.name, "open", &case.open, opened.as_ref().map(drop).map_err(clone), wrong);
    if let Ok(verified) = verified {
        judge(case.name, "verify", &case.verify, verified, wrong);
    }
}

fn clone(error: &cairnfile::Error) -> cairnfile::Error {
    cairnfile::Error::new(error.code(), error.detail())
}

#[test]
fn every_case_has_its_verdict() {
    let mut wrong = Vec::new();
    let cases: Vec<Case> = support::accepted().into_iter().chain(support::rejected()).collect();
    cases.iter().for_each(|case| check(case, &mut wrong));
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() > 170, "the catalogue has shrunk to {}", cases.len());
}

#[test]
fn every_code_about_files_is_hit() {
    let cases = support::rejected();
    let mut hit: BTreeSet<&str> = BTreeSet::from([OPAQUE_TENSOR.1]);
    for case in &cases {
        for expect in [&case.open, &case.verify] {
            if let Expect::Reject(code) = expect {
                hit.insert(code);
            }
        }
    }
    let about_files = Code::ALL.iter().filter(|c| c.level() != Level::Call).map(|c| c.name());
    assert_eq!(about_files.filter(|c| !hit.contains(c)).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn bytes_file_and_map_agree() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("case.cairn");
    for case in support::accepted().into_iter().chain(support::rejected()) {
        std::fs::write(&path, &case.bytes).unwrap();
        let from_bytes = Cairn::from_bytes(&case.bytes).and_then(|c| c.load_copy());
        let from_file = Cairn::open(&path).and_then(|c| c.load_copy());
        // SAFETY: the test's own file does not change while it is mapped.
        #[allow(unsafe_code)]
        let from_map = unsafe { Cairn::map(&path) }.and_then(|c| c.load_copy());
        for (way, found) in [("file", from_file), ("map", from_map)] {
            assert!(same(&from_bytes, &found), "{} by {way}: {found:?} instead of {from_bytes:?}", case.name);
        }
    }
}

fn same(a: &Result<Value<'_>>, b: &Result<Value<'_>>) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => a == b,
        (Err(a), Err(b)) => (a.code(), a.offset()) == (b.code(), b.offset()),
        _ => false,
    }
}

/// Whatever is accepted is the one spelling of its value: written again it is the same bytes.
#[test]
fn accepted_files_are_canonical() {
    let mut rewritten = 0;
    for case in support::accepted() {
        let cairn = Cairn::from_bytes(&case.bytes).unwrap();
        if cairn.extensions().next().is_some() {
            continue; // Writers keep no extension they do not understand.
        }
        assert_eq!(support::rewrite(&cairn).unwrap(), case.bytes, "{}", case.name);
        rewritten += 1;
    }
    assert!(rewritten > 30);
}

/// Whether a bytes value is alone in its buffer is only known when all is read: a fault in front of it comes first, one behind it
/// does not.
#[test]
fn the_first_of_two_faults_is_reported_beside_shared_bytes() {
    use support::raw::{RawBuffer, RawDtype, RawFile, RawTensor, list, named, null, object, tensor};
    let file = |root: Vec<u8>, tensors| {
        let mut file = RawFile { root, ..RawFile::new() };
        file.dtypes = vec![RawDtype::scalar("u8", 1)];
        file.buffers = vec![RawBuffer::new(vec![7; 65_537])];
        file.tensors = vec![RawTensor::new(0, 0, 0, &[65_537]); tensors];
        file.tensors.iter_mut().skip(1).for_each(|view| view.dims = vec![65_536]);
        let bytes = file.build();
        Cairn::from_bytes(&bytes).map(drop).map_err(|error| (error.code(), error.offset().unwrap()))
    };
    let (bytes, twice) = (named("bytes", &tensor(0)), [("k", null()), ("k", null())]);
    assert_eq!(file(list(std::slice::from_ref(&bytes)), 1), Ok(()));
    let (code, shared) = file(list(&[bytes.clone(), tensor(1)]), 2).unwrap_err();
    assert_eq!(code, Code::NamedBytes);
    assert_eq!(file(list(&[bytes.clone(), tensor(1), object(&twice)]), 2), Err((code, shared)));
    assert_eq!(file(list(&[object(&twice), bytes.clone(), tensor(1)]), 2).unwrap_err().0, Code::KeyDuplicate);
    // Where the fault of the dict is found last and lies in front all the same.
    let late = list(&[object(&[("k", null()), ("k", bytes), ("l", tensor(1))])]);
    assert_eq!(file(late, 2).unwrap_err().0, Code::KeyDuplicate);
}

#[test]
fn an_extension_that_the_caller_understands_is_no_hindrance() {
    use support::raw::{RawExtension, RawFile};
    let tag = 1 << 31 | 7;
    let bytes = RawFile { extensions: vec![RawExtension::new(tag, b"x")], ..RawFile::new() }.build();
    assert_eq!(Cairn::from_bytes(&bytes).unwrap_err().code(), Code::ExtensionUnknown);
    assert!(OpenOptions::new().understand(&[tag - 1]).from_bytes(&bytes).is_err());
    let cairn = OpenOptions::new().understand(&[5, tag]).from_bytes(&bytes).unwrap();
    assert_eq!(cairn.load().unwrap(), Value::Null);
}

/// The hint is for the file that the trailer is about.
#[test]
fn a_damaged_header_can_be_mended_if_the_trailer_is_this_files() {
    let mut bytes = support::raw::RawFile::new().build();
    bytes[20] ^= 1;
    let refused = |bytes: &[u8]| {
        let error = Cairn::from_bytes(bytes).unwrap_err();
        (error.code(), error.to_string().contains("cairn repair"))
    };
    assert_eq!(refused(&bytes), (Code::HeaderCrc, true));
    let (header, trailer) = (&bytes[..64], &bytes[bytes.len() - 64..]);
    assert_eq!(refused(header), (Code::HeaderCrc, false));
    assert_eq!(refused(&[header, trailer].concat()), (Code::HeaderCrc, false));
    assert_eq!(refused(&[&bytes[..], &[0; 64], trailer].concat()), (Code::HeaderCrc, false));
}

#[test]
fn a_named_dict_is_looked_into() {
    use support::raw::{RawFile, bool_, named, object};
    let inner = named("a.b", &named("c.d", &object(&[("k", bool_(true))])));
    let bytes = RawFile { root: inner, ..RawFile::new() }.build();
    let cairn = Cairn::from_bytes(&bytes).unwrap();
    for value in [cairn.root().get("k"), cairn.get("/k").ok()] {
        assert_eq!(value.unwrap().load().unwrap(), Value::Bool(true));
    }
    assert!(cairn.root().get("l").is_none());
    assert!(format!("{:?}", cairn.root()).starts_with("value at byte "));
}

/// A bytes value is a name and a tensor inside it, which is one level deeper.
#[test]
fn long_bytes_nest_as_deep_as_their_tensor() {
    use support::raw::{RawBuffer, RawDtype, RawFile, RawTensor, list, named, tensor};
    let at_depth = |depth: usize| {
        let bytes = (1..depth).fold(named("bytes", &tensor(0)), |value, _| list(&[value]));
        let mut file = RawFile { root: bytes, ..RawFile::new() };
        file.dtypes = vec![RawDtype::scalar("u8", 1)];
        file.buffers = vec![RawBuffer::new(vec![7; 65_537])];
        file.tensors = vec![RawTensor::new(0, 0, 0, &[65_537])];
        file.build()
    };
    assert!(Cairn::from_bytes(&at_depth(127)).is_ok());
    assert_eq!(Cairn::from_bytes(&at_depth(128)).unwrap_err().code(), Code::DepthLimit);
    let value = |depth: usize| (1..depth).fold(Value::from(vec![7u8; 65_537]), |value, _| Value::List(vec![value]));
    let write = |depth| cairnfile::to_bytes(&value(depth), &cairnfile::WriteOptions::new());
    assert!(write(127).unwrap() == at_depth(127));
    assert_eq!(write(128).unwrap_err().code(), Code::DepthLimit);
}
