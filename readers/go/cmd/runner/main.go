// Command runner judges Cairn files for the test vectors: RUNNER FILE prints one JSON object, as vectors/README.md describes it, and exits
// with 0 (accepted), 1 (refused) or 3 (unsupported). With several files it prints one object a line and exits with 0.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	cairn "github.com/cairnfile/cairn/readers/go"
)

func main() {
	paths := os.Args[1:]
	if len(paths) == 0 {
		fmt.Fprintln(os.Stderr, "usage: runner FILE...")
		os.Exit(2)
	}
	out := bufio.NewWriter(os.Stdout)
	exit := 0
	for _, path := range paths {
		exit = judge(out, path)
		out.WriteByte('\n')
	}
	if err := out.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if len(paths) == 1 {
		os.Exit(exit)
	}
}

// judge prints the report on one file and returns the exit status it asks for.
func judge(out *bufio.Writer, path string) int {
	f, err := cairn.OpenFile(path)
	out.WriteString(`{"open":`)
	outcome(out, err)
	if err != nil {
		out.WriteByte('}')
		return status(err)
	}
	defer f.Close()
	out.WriteString(`,"metadata":`)
	value(out, f.Metadata())
	out.WriteString(`,"root":`)
	value(out, f.Root())
	out.WriteString(`,"tensors":[`)
	for i := 0; i < f.Tensors(); i++ {
		if i > 0 {
			out.WriteByte(',')
		}
		tensor(out, f, i)
	}
	out.WriteString(`],"verify":`)
	err = f.Verify(nil)
	outcome(out, err)
	out.WriteByte('}')
	return status(err)
}

func status(err error) int {
	var e *cairn.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e) && e.Class() == cairn.Unsupported:
		return 3
	}
	return 1
}

func outcome(out *bufio.Writer, err error) {
	var e *cairn.Error
	if !errors.As(err, &e) {
		out.WriteString(`"accept"`)
		return
	}
	fmt.Fprintf(out, `{"class":%q,"code":%q}`, string(e.Class()), string(e.Code))
}

func tensor(out *bufio.Writer, f *cairn.File, i int) {
	t, err := f.Tensor(i)
	if err != nil {
		outcome(out, err)
		return
	}
	fmt.Fprintf(out, `{"dtype":%s,"shape":`, quote(t.DType().Name))
	numbers(out, t.Shape())
	out.WriteString(`,"strides":`)
	if s := t.Strides(); s == nil {
		out.WriteString("null")
	} else {
		numbers(out, s)
	}
	out.WriteString(`,"buffer":`)
	if n, ok := t.Buffer(); ok {
		fmt.Fprintf(out, `"%d"`, n)
	} else {
		out.WriteString("null")
	}
	fmt.Fprintf(out, `,"offset":"%d","read":`, t.Offset())
	p, err := t.Bytes()
	outcome(out, err)
	if err == nil {
		sum := sha256.Sum256(p)
		fmt.Fprintf(out, `,"sha256":"%x"`, sum[:])
	}
	out.WriteByte('}')
}

func numbers(out *bufio.Writer, v []int64) {
	out.WriteByte('[')
	for i, n := range v {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString(`"` + strconv.FormatInt(n, 10) + `"`)
	}
	out.WriteByte(']')
}

func quote(s string) []byte {
	b, _ := json.Marshal(s) // a string is always encoded
	return b
}

// value prints one value. Trees are at most 128 deep.
func value(out *bufio.Writer, v cairn.Value) {
	switch v.Kind() {
	case cairn.Null:
		out.WriteString(`["null"]`)
	case cairn.Bool:
		b, _ := v.Bool()
		fmt.Fprintf(out, `["bool",%t]`, b)
	case cairn.Int:
		n, _ := v.BigInt()
		fmt.Fprintf(out, `["int","%s"]`, n)
	case cairn.Float:
		b, _ := v.FloatBits()
		fmt.Fprintf(out, `["float","%016x"]`, b)
	case cairn.Complex:
		re, im, _ := v.ComplexBits()
		fmt.Fprintf(out, `["complex","%016x","%016x"]`, re, im)
	case cairn.Str:
		s, _ := v.Str()
		out.WriteString(`["str",`)
		out.Write(quote(s))
		out.WriteByte(']')
	case cairn.Bytes:
		b, _ := v.Bytes()
		out.WriteString(`["bytes","` + hex.EncodeToString(b) + `"]`)
	case cairn.List, cairn.Tuple, cairn.Dict:
		fmt.Fprintf(out, `["%s",[`, v.Kind())
		first := true
		v.Each(func(key, item cairn.Value) bool {
			if !first {
				out.WriteByte(',')
			}
			first = false
			if v.Kind() == cairn.Dict {
				out.WriteByte('[')
				value(out, key)
				out.WriteByte(',')
				value(out, item)
				out.WriteByte(']')
			} else {
				value(out, item)
			}
			return true
		})
		out.WriteString("]]")
	case cairn.Named:
		name, inner, _ := v.Named()
		out.WriteString(`["named",`)
		out.Write(quote(name))
		out.WriteByte(',')
		value(out, inner)
		out.WriteByte(']')
	case cairn.TensorKind:
		t, _ := v.Tensor()
		fmt.Fprintf(out, `["tensor",%d]`, t.Number())
	}
}
