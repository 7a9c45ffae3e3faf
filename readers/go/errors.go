package cairn

import "fmt"

// A Class says what kind of fault an error is and so what to do about it (SPEC §15).
type Class string

const (
	Truncated   Class = "truncated"
	Malformed   Class = "malformed"
	Corrupt     Class = "corrupt"
	Invalid     Class = "invalid"
	Unsupported Class = "unsupported"
	Limit       Class = "limit"
	IO          Class = "io"
	Usage       Class = "usage"
)

// A Code names one rule of the format. It is itself an error, so that errors.Is(err, cairn.BlockCRC) works.
type Code string

const (
	TooShort         Code = "too-short"
	Magic            Code = "magic"
	HeaderCRC        Code = "header-crc"
	Version          Code = "version"
	Flags            Code = "flags"
	Reserved         Code = "reserved"
	Role             Code = "role"
	BlockSize        Code = "block-size"
	StreamedFields   Code = "streamed-fields"
	FileLength       Code = "file-length"
	FileTruncated    Code = "truncated"
	TrailingBytes    Code = "trailing-bytes"
	TrailerMissing   Code = "trailer-missing"
	TrailerMagic     Code = "trailer-magic"
	TrailerCRC       Code = "trailer-crc"
	TrailerMismatch  Code = "trailer-mismatch"
	IndexLimit       Code = "index-limit"
	IndexLength      Code = "index-length"
	IndexOffset      Code = "index-offset"
	IndexCRC         Code = "index-crc"
	IndexCopy        Code = "index-copy"
	FileLayout       Code = "file-layout"
	IndexShort       Code = "index-short"
	IndexLong        Code = "index-long"
	ExtensionOrder   Code = "extension-order"
	ExtensionPadding Code = "extension-padding"
	ExtensionUnknown Code = "extension-unknown"
	DTypeName        Code = "dtype-name"
	DTypeClassFault  Code = "dtype-class"
	DTypeGeometry    Code = "dtype-geometry"
	DTypeRegistered  Code = "dtype-registered"
	DTypeDuplicate   Code = "dtype-duplicate"
	DTypeOrder       Code = "dtype-order"
	BufferLength     Code = "buffer-length"
	BufferOwner      Code = "buffer-owner"
	BufferOrder      Code = "buffer-order"
	BufferUnused     Code = "buffer-unused"
	BufferViewed     Code = "buffer-viewed"
	BufferKind       Code = "buffer-kind"
	TensorDType      Code = "tensor-dtype"
	TensorBuffer     Code = "tensor-buffer"
	TensorRank       Code = "tensor-rank"
	TensorFlags      Code = "tensor-flags"
	TensorSize       Code = "tensor-size"
	TensorGroups     Code = "tensor-groups"
	TensorOffset     Code = "tensor-offset"
	TensorStrides    Code = "tensor-strides"
	TensorExtent     Code = "tensor-extent"
	TensorDuplicate  Code = "tensor-duplicate"
	TensorOrder      Code = "tensor-order"
	ViewCover        Code = "view-cover"
	ViewPartial      Code = "view-partial"
	ValueTag         Code = "value-tag"
	ValueLength      Code = "value-length"
	ValueUTF8        Code = "value-utf8"
	ValueBigInt      Code = "value-bigint"
	BigIntLimit      Code = "bigint-limit"
	BytesLimit       Code = "bytes-limit"
	DepthLimit       Code = "depth-limit"
	KeyTag           Code = "key-tag"
	KeyDuplicate     Code = "key-duplicate"
	PathLimit        Code = "path-limit"
	NamedName        Code = "named-name"
	NamedBytes       Code = "named-bytes"
	TensorReference  Code = "tensor-reference"
	Metadata         Code = "metadata"
	Padding          Code = "padding"
	BlockCRC         Code = "block-crc"
	TailBits         Code = "tail-bits"
	BoolValue        Code = "bool-value"
	Budget           Code = "budget"
	HostSize         Code = "host-size"
	HostIO           Code = "io"
	FileChanged      Code = "file-changed"
	BadAddress       Code = "address"
	NotFound         Code = "not-found"
	WrongType        Code = "wrong-type"
	OutOfRange       Code = "out-of-range"
)

var codes = map[Code]struct {
	class   Class
	section string
}{
	TooShort: {Truncated, "6.1"}, Magic: {Malformed, "6.1"}, HeaderCRC: {Corrupt, "6.2"}, Version: {Unsupported, "6.3"},
	Flags: {Unsupported, "6.4"}, Reserved: {Unsupported, "6.5"}, Role: {Malformed, "6.4"}, BlockSize: {Malformed, "6.6"},
	StreamedFields: {Malformed, "6.7"}, FileLength: {Malformed, "6.8"}, FileTruncated: {Truncated, "6.8"}, TrailingBytes: {Malformed, "6.8"},
	TrailerMissing: {Truncated, "6.9"}, TrailerMagic: {Corrupt, "6.9"}, TrailerCRC: {Corrupt, "6.9"}, TrailerMismatch: {Malformed, "6.9"},
	IndexLimit: {Limit, "6.10"}, IndexLength: {Malformed, "6.10"}, IndexOffset: {Malformed, "6.11"}, IndexCRC: {Corrupt, "11.2"},
	IndexCopy: {Malformed, "5.3"}, FileLayout: {Malformed, "5.2"}, IndexShort: {Malformed, "7.1"}, IndexLong: {Malformed, "7.1"},
	ExtensionOrder: {Malformed, "7.2"}, ExtensionPadding: {Malformed, "7.2"}, ExtensionUnknown: {Unsupported, "7.2"},
	DTypeName: {Malformed, "7.3"}, DTypeClassFault: {Malformed, "7.3"}, DTypeGeometry: {Malformed, "7.3"}, DTypeRegistered: {Invalid, "7.3"},
	DTypeDuplicate: {Invalid, "7.3"}, DTypeOrder: {Invalid, "7.3"}, BufferLength: {Malformed, "7.4"}, BufferOwner: {Invalid, "7.4"},
	BufferOrder: {Invalid, "7.4"}, BufferUnused: {Invalid, "7.4"}, BufferViewed: {Invalid, "7.4"}, BufferKind: {Unsupported, "7.4"},
	TensorDType: {Malformed, "7.6"}, TensorBuffer: {Malformed, "7.6"}, TensorRank: {Limit, "7.6"}, TensorFlags: {Malformed, "7.6"},
	TensorSize: {Limit, "7.6"}, TensorGroups: {Invalid, "7.6"}, TensorOffset: {Invalid, "7.6"}, TensorStrides: {Invalid, "7.7"},
	TensorExtent: {Invalid, "7.6"}, TensorDuplicate: {Invalid, "7.6"}, TensorOrder: {Invalid, "7.6"}, ViewCover: {Invalid, "7.8"},
	ViewPartial: {Invalid, "7.8"}, ValueTag: {Malformed, "9.1"}, ValueLength: {Malformed, "9.3"}, ValueUTF8: {Malformed, "9.2"},
	ValueBigInt: {Malformed, "9.2"}, BigIntLimit: {Limit, "9.2"}, BytesLimit: {Limit, "9.2"}, DepthLimit: {Limit, "9.3"},
	KeyTag: {Malformed, "9.4"}, KeyDuplicate: {Invalid, "9.4"}, PathLimit: {Limit, "9.4"}, NamedName: {Malformed, "9.5"},
	NamedBytes: {Invalid, "9.5"}, TensorReference: {Malformed, "9.6"}, Metadata: {Invalid, "7.9"}, Padding: {Corrupt, "5.2"},
	BlockCRC: {Corrupt, "8.2"}, TailBits: {Invalid, "8.3"}, BoolValue: {Invalid, "8.3"}, Budget: {Limit, "16"}, HostSize: {Limit, "18"},
	HostIO: {IO, ""}, FileChanged: {IO, "17"}, BadAddress: {Usage, "9.7"}, NotFound: {Usage, "9.7"}, WrongType: {Usage, ""}, OutOfRange: {Usage, ""},
}

func (c Code) Error() string { return string(c) }

// Class returns the class of the code.
func (c Code) Class() Class { return codes[c].class }

// Section returns the section of SPEC.md that holds the rule, or "".
func (c Code) Section() string { return codes[c].section }

// An Error is a refusal. Every error of this package is an *Error, or for Verify a Faults.
type Error struct {
	Code   Code
	Offset int64  // of the first byte concerned, from the beginning of the file; -1 where there is none
	Detail string // for people; may be empty
	Err    error  // what the operating system said; may be nil
}

// Class returns the class of the error's code.
func (e *Error) Class() Class { return e.Code.Class() }

func (e *Error) Error() string {
	s := fmt.Sprintf("cairn: %s: %s", e.Class(), e.Code)
	if e.Offset >= 0 {
		s += fmt.Sprintf(" at byte %d", e.Offset)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is makes errors.Is(err, code) true for the error's own code.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

func (e *Error) Unwrap() error { return e.Err }

func refuse(code Code, offset int64, format string, args ...interface{}) *Error {
	return &Error{Code: code, Offset: offset, Detail: fmt.Sprintf(format, args...)}
}
