package dial

import "strings"

// Quote writes args as one command line that a POSIX shell reads back as args.
func Quote(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = quote(a)
	}
	return strings.Join(quoted, " ")
}

func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+:,./-_") == "" {
		return s // "=" is quoted: at the front it would be an assignment
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
