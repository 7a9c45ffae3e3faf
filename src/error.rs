//! What can be wrong, as one word-sized [`Error`]: class, stable code, absolute offset, section of SPEC.md.

use std::fmt;

/// Whose fault it is and what it calls for. `Spec §15`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// The file ends before it says it does.
    Truncated,
    /// The bytes do not follow the layout.
    Malformed,
    /// A checksum does not match, or padding is not zero: the file was damaged.
    Corrupt,
    /// Well-formed, but the parts contradict each other or the canonical form.
    Invalid,
    /// A newer or extended file that this reader cannot read.
    Unsupported,
    /// Above a hard limit of the format or a budget of the caller.
    Limit,
    /// The operating system refused.
    Io,
    /// The caller asked for something that does not fit the file or the value.
    Usage,
}

impl Class {
    /// The name used in SPEC.md, in vectors and in `--json` output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::Corrupt => "corrupt",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Limit => "limit",
            Self::Io => "io",
            Self::Usage => "usage",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When a rule is decidable. `Spec §12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// From header (streamed: and trailer), real length and index: every reader checks it at open.
    Open,
    /// From more bytes: checked when a tensor is taken, or by `verify`.
    Verify,
    /// Not about a file: raised by the machine or by a call.
    Call,
}

impl Level {
    /// `O`, `V` or `-`, as in the tables of SPEC.md.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Open => "O",
            Self::Verify => "V",
            Self::Call => "-",
        }
    }
}

macro_rules! codes {
    ($($variant:ident $name:literal $class:ident $level:ident $section:literal $meaning:literal;)*) => {
        /// Every reason for a refusal, with a name that never changes. `Spec §15`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $(#[doc = $meaning] $variant,)* }

        impl Code {
            /// All codes, in the order of SPEC.md's table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name, as in SPEC.md and the vectors.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The class every error of this code has.
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }

            /// The level at which the rule is decidable.
            pub const fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level,)* }
            }

            /// The section of SPEC.md that states the rule; empty for what is not about a file.
            pub const fn section(self) -> &'static str {
                match self { $(Self::$variant => $section,)* }
            }

            /// The rule that was broken, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

codes! {
    TooShort "too-short" Truncated Open "6.1" "The file is shorter than its smallest possible header.";
    Magic "magic" Malformed Open "6.1" "The file does not begin with the Cairn magic.";
    HeaderCrc "header-crc" Corrupt Open "6.2" "The header's checksum does not match its bytes.";
    Version "version" Unsupported Open "6.3" "The version is not one this reader knows.";
    Flags "flags" Unsupported Open "6.4" "A flag that this version does not define is set.";
    Reserved "reserved" Unsupported Open "6.5" "A reserved byte is not zero.";
    Role "role" Malformed Open "6.4" "The trailer flag is set in a header, or clear in a trailer.";
    BlockSize "block-size" Malformed Open "6.6" "The block size is outside 2^12 to 2^22 bytes.";
    StreamedFields "streamed-fields" Malformed Open "6.7" "A streamed file's header states a length or an index.";
    FileLength "file-length" Malformed Open "6.8" "The stated file length is below 192 or above 2^63-1 bytes.";
    Truncated "truncated" Truncated Open "6.8" "The file is shorter than it states.";
    TrailingBytes "trailing-bytes" Malformed Open "6.8" "The file is longer than it states.";
    TrailerMissing "trailer-missing" Truncated Open "6.9" "A streamed file does not end with a trailer.";
    TrailerMagic "trailer-magic" Corrupt Verify "6.9" "A planned file's trailer does not begin with the magic.";
    TrailerCrc "trailer-crc" Corrupt Verify "6.9" "The trailer's checksum does not match its bytes.";
    TrailerMismatch "trailer-mismatch" Malformed Verify "6.9" "Header and trailer disagree.";
    IndexLimit "index-limit" Limit Open "6.10" "The index is longer than 2^29-8 bytes.";
    IndexLength "index-length" Malformed Open "6.10" "The index is shorter than 26 bytes or does not fit into the file.";
    IndexOffset "index-offset" Malformed Open "6.11" "The index does not begin where the layout puts it.";
    IndexCrc "index-crc" Corrupt Open "11.2" "The index's checksum does not match its bytes.";
    IndexCopy "index-copy" Malformed Verify "5.3" "The second index differs from the first.";
    FileLayout "file-layout" Malformed Open "5.2" "The stated file length is not what the buffers' lengths add up to.";
    IndexShort "index-short" Malformed Open "7.1" "A field of the index runs past its end.";
    IndexLong "index-long" Malformed Open "7.1" "Bytes follow the root value in the index.";
    ExtensionOrder "extension-order" Malformed Open "7.2" "Extension tags are not strictly ascending from 1.";
    ExtensionPadding "extension-padding" Malformed Open "7.2" "An extension's padding is not zero.";
    ExtensionUnknown "extension-unknown" Unsupported Open "7.2" "An extension that must be understood is unknown to this reader.";
    DtypeName "dtype-name" Malformed Open "7.3" "A dtype's name is empty or of neither the registered nor the private form.";
    DtypeClass "dtype-class" Malformed Open "7.3" "A dtype's class is not scalar, packed or block.";
    DtypeGeometry "dtype-geometry" Malformed Open "7.3" "A dtype's group does not fit its class.";
    DtypeRegistered "dtype-registered" Invalid Open "7.3" "A registered dtype does not have its registered geometry.";
    DtypeDuplicate "dtype-duplicate" Invalid Open "7.3" "Two dtypes have the same name.";
    DtypeOrder "dtype-order" Invalid Open "7.3" "Dtypes are not numbered by their first use, or one is unused.";
    BufferLength "buffer-length" Malformed Open "7.4" "A buffer has no bytes, or the buffers together exceed 2^63-1.";
    BufferOwner "buffer-owner" Invalid Open "7.4" "A buffer's owner is not zero for tensor bytes, or not an extension of the file for the rest.";
    BufferOrder "buffer-order" Invalid Open "7.4" "Auxiliary buffers are not last, or a planned file's buffers are not numbered by their first use.";
    BufferUnused "buffer-unused" Invalid Open "7.4" "No tensor views a buffer that is not auxiliary.";
    BufferViewed "buffer-viewed" Invalid Open "7.4" "A tensor views an auxiliary buffer.";
    BufferKind "buffer-kind" Unsupported Verify "7.4" "The tensor's buffer is of a kind this reader does not know.";
    TensorDtype "tensor-dtype" Malformed Open "7.6" "A tensor's dtype number is not in the table.";
    TensorBuffer "tensor-buffer" Malformed Open "7.6" "A tensor's buffer number is not in the table, or missing or present against its size.";
    TensorRank "tensor-rank" Limit Open "7.6" "A tensor has more than 64 axes.";
    TensorFlags "tensor-flags" Malformed Open "7.6" "A tensor has a flag that is not defined.";
    TensorSize "tensor-size" Limit Open "7.6" "A tensor's element count or byte length exceeds 2^63-1.";
    TensorGroups "tensor-groups" Invalid Open "7.6" "The last axis of a block-class tensor is not in whole groups.";
    TensorOffset "tensor-offset" Invalid Open "7.6" "A tensor's offset is not a multiple of its alignment, or not zero without a buffer.";
    TensorStrides "tensor-strides" Invalid Open "7.7" "A tensor's strides are not in their one legal spelling.";
    TensorExtent "tensor-extent" Invalid Open "7.6" "A tensor reaches past the end of its buffer.";
    TensorDuplicate "tensor-duplicate" Invalid Open "7.6" "Two entries of the tensor table are equal.";
    TensorOrder "tensor-order" Invalid Open "7.6" "Tensors are not numbered by their first appearance in the root, or one is unused.";
    ViewCover "view-cover" Invalid Open "7.8" "The dense tensors of a buffer do not form one overlapping chain that covers it.";
    ViewPartial "view-partial" Invalid Open "7.8" "A tensor with a partial last group shares its buffer.";
    ValueTag "value-tag" Malformed Open "9.1" "A value's tag is not defined.";
    ValueLength "value-length" Malformed Open "9.3" "A container's items do not end where its byte length says.";
    ValueUtf8 "value-utf8" Malformed Open "9.2" "A string is not UTF-8.";
    ValueBigint "value-bigint" Malformed Open "9.2" "A big int is not minimal or fits 64 bits.";
    BigintLimit "bigint-limit" Limit Open "9.2" "A big int is longer than 8192 bytes.";
    BytesLimit "bytes-limit" Limit Open "9.2" "A bytes value is longer than 65536 bytes.";
    DepthLimit "depth-limit" Limit Open "9.3" "Values nest deeper than 128.";
    KeyTag "key-tag" Malformed Open "9.4" "A dict key is not an int, a str or bytes.";
    KeyDuplicate "key-duplicate" Invalid Open "9.4" "A dict has two equal keys.";
    PathLimit "path-limit" Limit Open "9.4" "The keys along a path take more than 4096 bytes.";
    NamedName "named-name" Malformed Open "9.5" "A type name is empty, too long or of neither the registered nor the private form.";
    NamedBytes "named-bytes" Invalid Open "9.5" "A `bytes` value is not one u8 vector of its own of more than 65536 elements.";
    TensorReference "tensor-reference" Malformed Open "9.6" "A value refers to a tensor that is not in the table.";
    Metadata "metadata" Invalid Open "7.9" "The metadata is not a dict with str keys and without tensors.";
    Padding "padding" Corrupt Verify "5.2" "A byte between the parts of the file is not zero.";
    BlockCrc "block-crc" Corrupt Verify "8.2" "A block's checksum does not match its bytes.";
    TailBits "tail-bits" Invalid Verify "8.3" "The unused bits of a last partial group are not zero.";
    BoolValue "bool-value" Invalid Verify "8.3" "A bool element is neither 0 nor 1.";
    Budget "budget" Limit Call "16" "More than the caller allowed.";
    HostSize "host-size" Limit Call "18" "Larger than this machine can address.";
    Io "io" Io Call "" "The operating system refused.";
    Durability "durability-unknown" Io Call "13.4" "The new file is visible, but the directory could not be synced.";
    Changed "file-changed" Io Call "17" "The file's length changed while it was open.";
    Address "address" Usage Call "9.7" "An address is not a JSON Pointer.";
    NotFound "not-found" Usage Call "9.7" "Nothing is at the address.";
    WrongType "wrong-type" Usage Call "" "The value is of another type than asked for.";
    OutOfRange "out-of-range" Usage Call "" "An index or a range lies outside the tensor.";
    SharingLost "sharing-lost" Usage Call "13.3" "Writing the tensor row-major would cut its sharing with another.";
    Unrepresentable "unrepresentable" Usage Call "13" "The value cannot be kept exactly.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The result of everything in this crate that can be refused.
pub type Result<T> = std::result::Result<T, Error>;

/// A refusal: what, where and which rule. One pointer wide.
///
/// ```
/// let error = cairnfile::Cairn::from_bytes(b"PK\x03\x04").err().unwrap();
/// assert_eq!(error.code().name(), "magic");
/// assert_eq!(error.class().name(), "malformed");
/// assert_eq!(error.offset(), Some(0));
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: Code,
    offset: Option<u64>,
    detail: String,
    source: Option<std::io::Error>,
}

impl Error {
    /// An error about the byte at `offset` of the file.
    #[cold]
    pub(crate) fn at(code: Code, offset: u64, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner { code, offset: Some(offset), detail: detail.into(), source: None }))
    }

    /// An error that no single byte of a file causes.
    #[cold]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner { code, offset: None, detail: detail.into(), source: None }))
    }

    /// A failure of the operating system while doing `what`.
    #[cold]
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self(Box::new(Inner { code: Code::Io, offset: None, detail: what.into(), source: Some(source) }))
    }

    #[cold]
    pub(crate) fn durability(what: impl Into<String>, source: std::io::Error) -> Self {
        Self(Box::new(Inner { code: Code::Durability, offset: None, detail: what.into(), source: Some(source) }))
    }

    /// The class: what kind of fault this is.
    pub fn class(&self) -> Class {
        self.0.code.class()
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The absolute byte offset in the file, where one byte can be named.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// The section of SPEC.md with the rule; empty where the fault is not a file's.
    pub fn section(&self) -> &'static str {
        self.0.code.section()
    }

    /// What was found, without code and offset.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The operating system's error, if that is the cause.
    pub fn io_error(&self) -> Option<&std::io::Error> {
        self.0.source.as_ref()
    }

    /// The same error with `detail` put in front, such as the address of a value.
    #[cold]
    #[must_use]
    pub fn context(mut self, detail: &str) -> Self {
        self.0.detail = format!("{detail}: {}", self.0.detail);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)?;
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        write!(f, " [{}: {}", self.class(), self.code())?;
        if let Some(offset) = self.0.offset {
            write!(f, ", at byte {offset}")?;
        }
        if !self.section().is_empty() {
            write!(f, ", SPEC §{}", self.section())?;
        }
        f.write_str("]")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn code_names_are_distinct() {
        let names: std::collections::HashSet<_> = Code::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
