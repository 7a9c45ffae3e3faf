package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

const vectors = "../../../../vectors"

type result struct {
	Open    interface{} `json:"open"`
	Verify  interface{} `json:"verify"`
	Tensors []struct {
		Read interface{} `json:"read"`
	} `json:"tensors"`
}

// class returns the class of an OUTCOME, "" for "accept" and for none.
func class(outcome interface{}) string {
	if m, ok := outcome.(map[string]interface{}); ok {
		return m["class"].(string)
	}
	return ""
}

// allows says whether an OUTCOME, or one of a list of them, has the class.
func allows(outcome interface{}, found string) bool {
	several, ok := outcome.([]interface{})
	for _, one := range several {
		if class(one) == found {
			return true
		}
	}
	return !ok && class(outcome) == found
}

func code(outcome interface{}) string {
	if m, ok := outcome.(map[string]interface{}); ok {
		return m["code"].(string)
	}
	return ""
}

// TestVectors compares verdicts, classes and decoded values with the manifest. Codes are the reader's best report and only logged.
func TestVectors(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(vectors, "manifest.json"))
	if err != nil {
		t.Skip("no vectors here")
	}
	var manifest struct {
		Vectors []struct {
			ID, File, Expect string
			Open, Verify     interface{}
			Tensors          []interface{}
			Decoded          *string
		}
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	statuses := map[string]int{"accept": 0, "reject": 1, "unsupported": 3}
	passed := map[string]int{}
	for _, v := range manifest.Vectors {
		var line bytes.Buffer
		out := bufio.NewWriter(&line)
		status := judge(out, filepath.Join(vectors, v.File))
		out.Flush()
		var got result
		if err := json.Unmarshal(line.Bytes(), &got); err != nil {
			t.Errorf("%s: %v", v.ID, err)
			continue
		}
		ok := true
		wrong := func(what string, got, want interface{}) {
			t.Errorf("%s: %s is %v, not %v", v.ID, what, got, want)
			ok = false
		}
		if want := statuses[v.Expect]; status != want {
			wrong("status", status, want)
		}
		if class(got.Open) != class(v.Open) {
			wrong("open", got.Open, v.Open)
		}
		if class(v.Open) == "" && class(got.Verify) != class(v.Verify) {
			wrong("verify", got.Verify, v.Verify)
		}
		if code(got.Open) != code(v.Open) || class(v.Open) == "" && code(got.Verify) != code(v.Verify) {
			t.Logf("%s: codes %v %v, reference %v %v", v.ID, got.Open, got.Verify, v.Open, v.Verify)
		}
		if v.Tensors != nil && len(v.Tensors) != len(got.Tensors) {
			wrong("number of tensors", len(got.Tensors), len(v.Tensors))
		} else {
			for i := range got.Tensors {
				var want interface{}
				if v.Tensors != nil {
					want = v.Tensors[i]
				}
				if !allows(want, class(got.Tensors[i].Read)) {
					wrong("a tensor", got.Tensors[i].Read, want)
				}
			}
		}
		if v.Decoded != nil {
			var is, want interface{}
			text, err := os.ReadFile(filepath.Join(vectors, *v.Decoded))
			if err == nil {
				err = json.Unmarshal(text, &want)
			}
			if err != nil {
				wrong("decoded", err, nil)
			}
			json.Unmarshal(line.Bytes(), &is)
			if !reflect.DeepEqual(is, want) {
				wrong("decoded", is, want)
			}
		}
		if ok {
			passed[v.Expect+" "+class(v.Open)+class(v.Verify)]++
		}
	}
	t.Logf("%d vectors, passed by verdict and class: %v", len(manifest.Vectors), passed)
}
