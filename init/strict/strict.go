// Package strict decodes YAML files that people write: an unknown or repeated key
// is an error that names file, line and, for a misspelt one, the key that was
// probably meant. It takes no anchors, by which a small file can become a large
// one.
package strict

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

// Decode reads data, which came from path, into the struct that into points to.
func Decode(path string, data []byte, into any) error {
	if deep(data) {
		return fmt.Errorf("%s: nested deeper than %d", path, maxDepth)
	}
	if err := checkKeys(path, data, reflect.TypeOf(into).Elem()); err != nil {
		return err
	}
	if err := yaml.UnmarshalWithOptions(data, into, yaml.Strict()); err != nil {
		return located(path, err)
	}
	return nil
}

// maxDepth is far beyond any settings, and what the parser's memory, which grows
// with the square of the depth, can bear.
const maxDepth = 64

// deep tells whether data may be nested deeper than maxDepth: in brackets, or in
// lists and keys that begin on one line. It looks at bytes, so that a text full of
// brackets counts as well.
func deep(data []byte) bool {
	open, marks := 0, 0
	for i, c := range data {
		switch c {
		case '[', '{':
			open++
		case ']', '}':
			open = max(0, open-1)
		case '\n':
			marks = 0
		case '-', '?', ':':
			if i+1 < len(data) && (data[i+1] == ' ' || data[i+1] == '\t') {
				marks++
			}
		}
		if open > maxDepth || marks > maxDepth {
			return true
		}
	}
	return false
}

// located puts "file:line: " before a YAML error, in place of the library's
// excerpt of several lines.
func located(path string, err error) error {
	var y yaml.Error
	if !errors.As(err, &y) || y.GetToken() == nil || y.GetToken().Position == nil {
		return fmt.Errorf("%s: %s", path, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	if wrong := (*yaml.TypeError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("%s:%d: a value of another kind is wanted here (%s)", path, y.GetToken().Position.Line, wrong.DstType)
	}
	message := strings.ReplaceAll(y.GetMessage(), "\n", " ")
	return fmt.Errorf("%s:%d: %s", path, y.GetToken().Position.Line, message)
}
