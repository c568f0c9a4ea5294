package pid1

import (
	"strconv"
	"syscall"
)

// process is a row of /proc.
type process struct {
	pid, parent int
	name        string
}

// processes lists every process that /proc shows, or nil where it isn't mounted.
func processes() []process {
	dir, err := syscall.Open("/proc", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(dir)
	var list []process
	buf, stat := make([]byte, 8192), make([]byte, 512)
	for {
		n, err := syscall.ReadDirent(dir, buf)
		if err != nil || n <= 0 {
			return list
		}
		_, _, names := syscall.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			pid, err := strconv.Atoi(name)
			if err != nil {
				continue
			}
			if p, ok := readProcess(dir, pid, stat); ok {
				list = append(list, p)
			}
		}
	}
}

// readProcess reads /proc/PID/stat: "PID (NAME) STATE PARENT …"; the name may
// hold blanks and brackets. A process that is gone or a zombie is not ok.
func readProcess(dir, pid int, buf []byte) (process, bool) {
	fd, err := syscall.Openat(dir, strconv.Itoa(pid)+"/stat", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return process{}, false
	}
	defer syscall.Close(fd)
	n, err := syscall.Read(fd, buf)
	if err != nil {
		return process{}, false
	}
	text := string(buf[:n])
	open, end := index(text, '('), len(text)-1
	for end >= 0 && text[end] != ')' {
		end--
	}
	if open < 0 || end < open {
		return process{}, false
	}
	state, rest, _ := cut(text[min(end+2, len(text)):], ' ')
	if state == "Z" || state == "X" {
		return process{}, false
	}
	number, _, _ := cut(rest, ' ')
	parent, err := strconv.Atoi(number)
	return process{pid, parent, text[open+1 : end]}, err == nil
}

// below returns the members of list that descend from one of roots, without the
// roots.
func below(list []process, roots ...int) []process {
	in := make(map[int]bool, len(roots))
	for _, r := range roots {
		in[r] = true
	}
	var found []process
	for grew := true; grew; { // a parent may stand behind its child: ids wrap
		grew = false
		for _, p := range list {
			if in[p.parent] && !in[p.pid] {
				in[p.pid], grew = true, true
				found = append(found, p)
			}
		}
	}
	return found
}
