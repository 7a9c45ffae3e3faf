//! safetensors: a length, a JSON header, the data. The `safetensors` crate checks the layout; what a parser that keeps
//! the last of two equal names hides, and the order of the names, is read from the header once more.

use std::collections::HashSet;
use std::fmt;
use std::io::Write;

use cairnfile::{DType, Dict, GroupClass, Key, Storage, Tensor, Value};
use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, SafeTensorError, TensorInfo};
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value as Json, json};

use super::flat::Entry;
use super::{Document, refused, unsupported};
use crate::common::{Failure, Outcome};

/// The name under which the header keeps the metadata.
const METADATA: &str = "__metadata__";
/// The longest header that readers accept.
const MAX_HEADER: usize = 100_000_000;

/// All dtypes of the format with ours.
const DTYPES: [(&str, DType); 22] = [
    ("BOOL", DType::BOOL),
    ("F4", DType::F4_E2M1FN),
    ("F6_E2M3", DType::F6_E2M3FN),
    ("F6_E3M2", DType::F6_E3M2FN),
    ("U8", DType::U8),
    ("I8", DType::I8),
    ("F8_E5M2", DType::F8_E5M2),
    ("F8_E4M3", DType::F8_E4M3FN),
    ("F8_E8M0", DType::F8_E8M0FNU),
    ("F8_E4M3FNUZ", DType::F8_E4M3FNUZ),
    ("F8_E5M2FNUZ", DType::F8_E5M2FNUZ),
    ("I16", DType::I16),
    ("U16", DType::U16),
    ("F16", DType::F16),
    ("BF16", DType::BF16),
    ("I32", DType::I32),
    ("U32", DType::U32),
    ("F32", DType::F32),
    ("C64", DType::C64),
    ("F64", DType::F64),
    ("I64", DType::I64),
    ("U64", DType::U64),
];

/// Whether a file that has no magic begins like one of these: a length, then JSON.
pub(crate) fn is_likely(bytes: &[u8]) -> bool {
    let Some((len, rest)) = bytes.split_first_chunk::<8>() else { return false };
    let first = rest.iter().find(|b| !b.is_ascii_whitespace());
    first == Some(&b'{') && (2..=MAX_HEADER).contains(&usize::try_from(u64::from_le_bytes(*len)).unwrap_or(usize::MAX))
}

/// The tensors of a file, views of `bytes`, by name in the order of the header.
pub(crate) fn read(bytes: &[u8]) -> Result<Document<'_>, Failure> {
    let (header_len, layout) = SafeTensors::read_metadata(bytes).map_err(|e| refused(sentence(&e)))?;
    let data = bytes.get(8 + header_len..).unwrap_or(&[]);
    let header = Header::parse(bytes.get(8..8 + header_len).unwrap_or(&[]))?;
    let mut root = Dict::new();
    for name in header.names {
        let tensor = tensor(&name, &layout, data)?;
        root.insert(name, tensor);
    }
    Ok(Document { root: root.into(), metadata: Dict::from_iter(header.metadata) })
}

/// What the crate found, for people.
fn sentence(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            "the tensors do not end where the safetensors file ends: it was cut short, or something was appended".to_owned()
        }
        SafeTensorError::InvalidHeaderLength => "the safetensors file ends inside its header".to_owned(),
        SafeTensorError::InvalidOffset(name) => format!("the data of tensor {name:?} overlaps another's or leaves a hole"),
        error => format!("not a valid safetensors file: {error}"),
    }
}

fn tensor<'a>(name: &str, layout: &Metadata, data: &'a [u8]) -> Result<Tensor<'a>, Failure> {
    let found = layout.info(name).and_then(|info: &TensorInfo| Some((info, data.get(info.data_offsets.0..info.data_offsets.1)?)));
    let Some((info, bytes)) = found else { return Err(refused(format!("tensor {name:?} has no data"))) };
    let theirs = info.dtype.to_string();
    let Some((_, dtype)) = DTYPES.iter().find(|(known, _)| *known == theirs) else {
        return Err(unsupported(format!("tensor {name:?} has dtype {theirs}, which is not known here")));
    };
    if *dtype == DType::BOOL {
        check_bools(name, bytes)?;
    }
    let shape: Vec<u64> = info.shape.iter().filter_map(|dim| u64::try_from(*dim).ok()).collect();
    Tensor::new(dtype.clone(), &shape, Storage::borrowed(bytes)).map_err(|e| Failure::from(e.context(&format!("tensor {name:?}"))))
}

/// Other bool bytes load as `True` elsewhere and would be lost by anything that counts or compares them.
fn check_bools(name: &str, bytes: &[u8]) -> Outcome {
    match bytes.iter().position(|b| *b > 1) {
        None => Ok(()),
        Some(at) => Err(refused(format!("tensor {name:?}: bool element {at} is the byte {}, not 0 or 1", bytes[at]))),
    }
}

/// Names and metadata in the order of the header.
#[derive(Debug, Default)]
struct Header {
    names: Vec<String>,
    metadata: Vec<(String, String)>,
}

impl Header {
    fn parse(json: &[u8]) -> Result<Self, Failure> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        deserializer.deserialize_map(Self::default()).map_err(|e| refused(format!("safetensors header: {e}")))
    }
}

impl<'de> Visitor<'de> for Header {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("the name {name:?} stands there twice")));
            }
            if name == METADATA {
                self.metadata = map.next_value::<Option<Pairs>>()?.map_or(Vec::new(), |pairs| pairs.0);
            } else {
                map.next_value::<Fields>().map_err(|e| A::Error::custom(format!("tensor {name:?}: {e}")))?;
                self.names.push(name);
            }
        }
        Ok(self)
    }
}

/// Nothing but the three fields there are: an unknown one would be lost.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(rename = "dtype")]
    _dtype: IgnoredAny,
    #[serde(rename = "shape")]
    _shape: IgnoredAny,
    #[serde(rename = "data_offsets")]
    _data_offsets: IgnoredAny,
}

/// A map of str to str in its order.
struct Pairs(Vec<(String, String)>);

impl<'de> serde::Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Pairs {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of str to str")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("the metadata key {key:?} stands there twice")));
            }
            self.0.push((key, value));
        }
        Ok(self)
    }
}

/// Writes `entries` and `metadata`. The header keeps their order; the data is sorted by the size of its elements, as
/// other writers do, so that all of it is aligned.
pub(crate) fn write(out: &mut dyn Write, entries: &[Entry<'_>], metadata: &Dict<'_>) -> Outcome {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(width(entries[*i].tensor.dtype())));
    let mut offsets = vec![(0, 0); entries.len()];
    let mut end = 0u64;
    for i in &order {
        let start = end;
        end = end.checked_add(entries[*i].tensor.byte_len()).ok_or_else(|| unsupported("the tensors are too long"))?;
        offsets[*i] = (start, end);
    }
    let header = header(entries, &offsets, metadata)?;
    out.write_all(&header)?;
    for i in order {
        out.write_all(&entries[i].tensor.row_major_bytes()?)?;
    }
    Ok(())
}

/// Bytes of an element, at least one.
fn width(dtype: &DType) -> u32 {
    let geometry = dtype.geometry();
    if geometry.class == GroupClass::Scalar { geometry.bytes } else { 1 }
}

/// Length and JSON, padded to eight bytes.
fn header(entries: &[Entry<'_>], offsets: &[(u64, u64)], metadata: &Dict<'_>) -> Result<Vec<u8>, Failure> {
    let mut map = Map::new();
    if !metadata.is_empty() {
        map.insert(METADATA.to_owned(), metadata_json(metadata)?);
    }
    for (entry, (start, end)) in entries.iter().zip(offsets) {
        let fields = json!({ "dtype": dtype_name(entry)?, "shape": entry.tensor.shape(), "data_offsets": [start, end] });
        if map.insert(entry.name.clone(), fields).is_some() || entry.name == METADATA {
            return Err(unsupported(format!("a tensor cannot have the name {:?} in a safetensors file", entry.name)));
        }
    }
    let mut json = serde_json::to_vec(&Json::Object(map)).map_err(std::io::Error::from)?;
    json.resize(json.len().next_multiple_of(8), b' ');
    if json.len() > MAX_HEADER {
        return Err(unsupported(format!("the safetensors header would take {} bytes, readers accept {MAX_HEADER}", json.len())));
    }
    let len = u64::try_from(json.len()).unwrap_or(u64::MAX);
    Ok([&len.to_le_bytes()[..], &json].concat())
}

fn dtype_name(entry: &Entry<'_>) -> Result<&'static str, Failure> {
    let dtype = entry.tensor.dtype();
    let Some((name, _)) = DTYPES.iter().find(|(_, ours)| ours == dtype) else {
        return Err(unsupported(format!("{:?} is of dtype {dtype}, which a safetensors file cannot hold", entry.name)));
    };
    let bits = u64::from(dtype.geometry().element_bits().unwrap_or(8));
    if !(entry.tensor.element_count() % 8 * bits).is_multiple_of(8) {
        return Err(unsupported(format!("{:?} ends within a byte, which a safetensors file cannot hold", entry.name)));
    }
    Ok(name)
}

/// Metadata that is only str, as JSON.
fn metadata_json(metadata: &Dict<'_>) -> Result<Json, Failure> {
    let pairs = metadata.iter().map(|(key, value)| match (key, value) {
        (Key::Str(key), Value::Str(text)) => Ok((key.clone(), Json::from(text.as_ref()))),
        (key, value) => {
            let text = format!("metadata {key} is of type {}: safetensors keeps only str; --drop-metadata drops it all", value.type_word());
            Err(unsupported(text))
        }
    });
    Ok(Json::Object(pairs.collect::<Result<Map<_, _>, Failure>>()?))
}
