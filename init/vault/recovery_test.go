package vault

import (
	"regexp"
	"strings"
	"testing"
)

func TestRecoveryCode(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		code, err := NewRecoveryCode()
		if err != nil {
			t.Fatal(err)
		}
		text := string(code.Bytes())
		code.Destroy()
		if !regexp.MustCompile(`^([0-9A-HJKMNP-TV-Z]{5}-){5}[0-9A-HJKMNP-TV-Z]{5}$`).MatchString(text) || seen[text] {
			t.Fatalf("NewRecoveryCode() = %s; want six groups, never the same", text)
		}
		seen[text] = true
		for _, form := range []string{
			text, strings.ToLower(text), strings.ReplaceAll(text, "-", ""), strings.ReplaceAll(text, "-", " "),
			strings.ReplaceAll(text, "0", "O"), strings.ReplaceAll(text, "1", "l"), strings.ReplaceAll(text, "V", "u"), " " + text + " ",
		} {
			if got, wrong := typedText(t, form); got != text || wrong != 0 {
				t.Errorf("typed(%q) = %q, %d; want %q", form, got, wrong, text)
			}
		}
	}
}

// TestMistypedCode: every single wrong letter, and every two neighbours that
// changed places, are found in their group.
func TestMistypedCode(t *testing.T) {
	code, err := NewRecoveryCode()
	if err != nil {
		t.Fatal(err)
	}
	defer code.Destroy()
	text := string(code.Bytes())
	check := func(form []byte, at int) {
		if string(form) == text {
			return
		}
		if got, wrong := typedText(t, string(form)); wrong != at/(groupLength+1)+1 || got != string(form) {
			t.Errorf("typed(%q), of %q = %q, %d; want it as it is, and group %d", form, text, got, wrong, at/(groupLength+1)+1)
		}
	}
	for at := range text {
		if text[at] == '-' {
			continue
		}
		for _, c := range []byte(codeLetters) {
			form := []byte(text)
			form[at] = c
			check(form, at)
		}
		if at+1 < len(text) && text[at+1] != '-' {
			form := []byte(text)
			form[at], form[at+1] = form[at+1], form[at]
			check(form, at)
		}
	}
	groups := strings.Split(text, "-")
	groups[0], groups[1] = groups[1], groups[0]
	if groups[0] != groups[1] {
		check([]byte(strings.Join(groups, "-")), 0)
	}
}

// TestOrdinaryPassphrases stay what they are.
func TestOrdinaryPassphrases(t *testing.T) {
	for _, pass := range []string{
		"", "pass", "correct horse battery staple", strings.Repeat("A", 30), strings.Repeat("a", 31), strings.Repeat("a-", 200),
		"ABCDEFGHJKMNPQRSTVWXYZ01234567", "ü-ü-ü", strings.Repeat("0", 29), strings.Repeat("0", 512),
	} {
		if got, wrong := typedText(t, pass); got != pass || wrong != 0 {
			t.Errorf("typed(%q) = %q, %d; want the same and 0", pass, got, wrong)
		}
	}
}

func typedText(t *testing.T, pass string) (string, int) {
	t.Helper()
	clean, wrong, err := typed(secret(t, pass))
	if err != nil {
		t.Fatal(err)
	}
	defer clean.Destroy()
	return string(clean.Bytes()), wrong
}
