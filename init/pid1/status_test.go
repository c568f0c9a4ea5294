package pid1

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// everywhere runs a test as PID 1 and as somebody's child.
func everywhere(t *testing.T, test func(t *testing.T, h how)) {
	t.Run("first", func(t *testing.T) { test(t, how{namespace: true}) })
	t.Run("child", func(t *testing.T) { test(t, how{}) })
}

func TestStatus(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", "exit 3\n", 0o644)
	noFormat := write("no-format", "exit 8\n", 0o755)
	everywhere(t, func(t *testing.T, h how) {
		for _, c := range []struct {
			want int
			args []string
		}{
			{0, []string{"run", "true"}},
			{7, []string{"run", "--", "sh", "-c", "exit 7"}},
			{9, []string{"run", "sh", "-c", "exit 9"}}, // the command's -c is its own
			{255, []string{"run", "-g", "-s", "sh", "-c", "exit 255"}},
			{128 + 9, []string{"run", "sh", "-c", "kill -9 $$"}},
			{128 + 15, []string{"run", "sh", "-c", "kill -15 $$"}},
			{128 + 11, []string{"run", "sh", "-c", "kill -11 $$"}},
			{128 + 34, []string{"run", "bash", "-c", "kill -34 $$"}},
			{127, []string{"run", "tazpod-no-such-program"}},
			{127, []string{"run", "/no/such/program"}},
			{127, []string{"run", ""}},
			{126, []string{"run", "/etc"}},
			{126, []string{"run", plain}},
			{8, []string{"run", noFormat}}, // as execvp: by the shell
			{0, []string{"run", "-e", "143", "sh", "-c", "kill -15 $$"}},
			{5, []string{"run", "--remap=7:5", "sh", "-c", "exit 7"}},
			{2, []string{"run"}},
			{2, []string{"run", "--nonsense", "true"}},
			{2, []string{"run", "--grace=soon", "true"}},
			{0, []string{"run", "--help"}},
		} {
			r := h.start(t, c.args...)
			if got := r.status(); got != c.want {
				t.Errorf("%s = %d; want %d; output:\n%s", strings.Join(c.args, " "), got, c.want, r.out)
			}
		}
	})
}

func TestStatusOfPod(t *testing.T) {
	h := how{namespace: true}
	for _, c := range []struct {
		want int
		args []string
	}{
		{7, []string{"pid1", "sh", "-c", "exit 7"}},
		{128 + 9, []string{"pid1", "--", "sh", "-c", "kill -9 $$"}},
		{127, []string{"pid1", "tazpod-no-such-program"}},
		{126, []string{"pid1", "/etc"}},
	} {
		r := h.start(t, c.args...)
		if got := r.status(); got != c.want {
			t.Errorf("%s = %d; want %d; output:\n%s", strings.Join(c.args, " "), got, c.want, r.out)
		}
	}
}

// TestNoStatusLost starts commands that end at once: the reaper must never take
// one for an orphan.
func TestNoStatusLost(t *testing.T) {
	for i := range soak(100, 1000) {
		how{}.start(t, "run", "sh", "-c", `(:&) ; exit $0`, strconv.Itoa(i%256)).want(i % 256)
	}
}

// TestConcurrentCommands has a command run 10,000 others, four at a time beside
// orphans, and miss the status of none.
func TestConcurrentCommands(t *testing.T) {
	r := how{namespace: true}.start(t, "run", "bash", "-c", `
		lane() {
			for ((i = 0; i < $1; i++)); do
				(exit $((i % 251))); [ $? = $((i % 251)) ] || { echo "status $i lost"; exit 1; }
				((i % 50)) || ( : & )
			done
		}
		lanes=()
		for n in 1 2 3 4; do lane $0 & lanes+=($!); done
		for pid in "${lanes[@]}"; do wait $pid || exit 1; done
		exit 44`, strconv.Itoa(soak(2500, 25_000)))
	r.want(44)
}
