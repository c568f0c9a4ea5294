package strict

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// checkKeys walks a document before it is decoded, so that an unknown key is
// reported with the one that was probably meant, and so that no anchor or merge
// key can make a small file large.
func checkKeys(path string, data []byte, root reflect.Type) error {
	doc, err := parser.ParseBytes(data, 0)
	if err != nil {
		return located(path, err)
	}
	if len(doc.Docs) > 1 {
		return fmt.Errorf("%s: more than one document", path)
	}
	for _, d := range doc.Docs {
		if err := checkNode(path, "", d.Body, root); err != nil {
			return err
		}
	}
	return nil
}

func checkNode(path, above string, n ast.Node, t reflect.Type) error {
	switch n := n.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
		return nil
	case *ast.AnchorNode, *ast.AliasNode:
		return fmt.Errorf("%s:%d: anchors and aliases are not for settings: write the value out", path, line(n))
	case *ast.MappingNode:
		for _, v := range n.Values {
			if err := checkPair(path, above, v, t); err != nil {
				return err
			}
		}
		return nil
	case *ast.MappingValueNode:
		return checkPair(path, above, n, t)
	case *ast.SequenceNode:
		if t != nil && t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t == nil || t.Kind() != reflect.Slice {
			return fmt.Errorf("%s:%d: %s holds no list", path, line(n), subject(above))
		}
		element := t.Elem()
		if element.Kind() != reflect.Struct {
			element = nil
		}
		for _, v := range n.Values {
			if err := checkNode(path, above, v, element); err != nil {
				return err
			}
		}
		return nil
	}
	if t != nil && t.Kind() == reflect.Struct {
		return fmt.Errorf("%s:%d: %s must hold keys and values", path, line(n), subject(above))
	}
	return nil
}

func checkPair(path, above string, pair *ast.MappingValueNode, t reflect.Type) error {
	key := pair.Key.String()
	if t == nil || t.Kind() != reflect.Struct {
		return fmt.Errorf("%s:%d: %s holds no keys", path, line(pair.Key), subject(above))
	}
	known := map[string]reflect.Type{}
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" {
			known[name] = t.Field(i).Type
		}
	}
	inner, ok := known[strings.Trim(key, `"'`)]
	if !ok {
		hint := ""
		if near := nearest(key, known); near != "" {
			hint = fmt.Sprintf("; do you mean %q?", near)
		}
		return fmt.Errorf("%s:%d: unknown key %q%s", path, line(pair.Key), above+key, hint)
	}
	return checkNode(path, above+key+".", pair.Value, inner)
}

// subject names what the keys with the prefix above are in.
func subject(above string) string {
	if above == "" {
		return "the file"
	}
	return strings.TrimSuffix(above, ".")
}

func line(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

// nearest is the known key with the fewest changes to key, or "" when all are
// too far for a misspelling. Among equals it is the first in the alphabet.
func nearest(key string, known map[string]reflect.Type) string {
	best, least := "", max(2, len(key)/2)+1
	for name := range known {
		d := distance(strings.ToLower(key), name)
		if d < least || d == least && best != "" && name < best {
			best, least = name, d
		}
	}
	return best
}

// distance is Levenshtein's: insertions, deletions and replacements from a to b.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
