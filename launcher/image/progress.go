package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

const tailLines = 25 // of a failed build's output that are shown

// Progress shows how builds go on: one line that is kept up to date on a
// terminal, else a line for each step.
type Progress struct {
	W       io.Writer
	Width   func() int       // columns of the terminal; nil where there is none
	Verbose bool             // show everything that the steps write
	Now     func() time.Time // time.Now if nil

	mu      sync.Mutex
	done    string // what is said at the end
	tag     string
	step    string
	began   time.Time
	tail    []string
	partial string // output without its end of line
	stop    chan struct{}
	stopped sync.WaitGroup
}

// event is one line of the builder's answer (Docker API, "Build an image").
type event struct {
	Stream string `json:"stream"`
	Status string `json:"status"`
	ID     string `json:"id"`
	Error  string `json:"error"`
}

var stepLine = regexp.MustCompile(`^Step (\d+/\d+) : (.*)`)

const spin = 100 * time.Millisecond

var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

func (p *Progress) begin(doing, done, tag string) {
	if p.Now == nil {
		p.Now = time.Now
	}
	p.done, p.tag, p.step, p.tail, p.partial = done, tag, "", nil, ""
	p.began, p.stop = p.Now(), make(chan struct{})
	p.show(doing + " " + tag)
	if p.Width == nil || p.Verbose {
		return
	}
	p.stopped.Go(func() {
		ticker := time.NewTicker(spin)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.mu.Lock()
				p.redraw()
				p.mu.Unlock()
			case <-p.stop:
				return
			}
		}
	})
}

// follow reads the builder's answer to its end.
func (p *Progress) follow(answer io.Reader) error {
	decoder := json.NewDecoder(answer)
	for {
		var e event
		err := decoder.Decode(&e)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("the engine broke off: %w", err)
		case e.Error != "":
			return errors.New(strings.TrimSpace(plain(e.Error)))
		}
		p.mu.Lock()
		p.take(e)
		p.mu.Unlock()
	}
}

func (p *Progress) take(e event) {
	if e.Stream == "" && e.Status != "" && e.ID == "" {
		e.Stream = e.Status + "\n" // of a pull, without its bars
	}
	lines := strings.Split(p.partial+e.Stream, "\n")
	p.partial = lines[len(lines)-1]
	for _, line := range lines[:len(lines)-1] {
		line = plain(line[strings.LastIndexByte(strings.TrimSuffix(line, "\r"), '\r')+1:])
		if strings.TrimSpace(line) == "" {
			continue
		}
		if step := stepLine.FindStringSubmatch(line); step != nil {
			p.step = "step " + step[1] + ": " + strings.Join(strings.Fields(step[2]), " ")
			p.tail = nil
			p.show(p.state())
			continue
		}
		if p.tail = append(p.tail, line); len(p.tail) > tailLines {
			p.tail = p.tail[1:]
		}
		if p.Verbose {
			fmt.Fprintln(p.W, line)
		}
	}
}

// note says something between builds.
func (p *Progress) note(text string) { fmt.Fprintln(p.W, "tazpod: "+text) }

// show tells about a new step.
func (p *Progress) show(text string) {
	if p.Width != nil && !p.Verbose {
		p.redraw()
		return
	}
	fmt.Fprintln(p.W, "tazpod: "+cut(text, 160))
}

// redraw writes the one line of a terminal anew.
func (p *Progress) redraw() {
	turn := spinner[p.Now().Sub(p.began)/spin%time.Duration(len(spinner))]
	fmt.Fprint(p.W, "\r\x1b[K"+cut(string(turn)+" tazpod: "+p.state(), p.Width()-1))
}

func (p *Progress) state() string {
	text := p.tag + ", " + p.elapsed().String()
	if p.step != "" {
		text += ", " + p.step
	}
	return text
}

func (p *Progress) elapsed() time.Duration { return p.Now().Sub(p.began).Round(time.Second) }

// end tells how the build ended; why is the caller's to print.
func (p *Progress) end(err error) {
	close(p.stop)
	p.stopped.Wait()
	if p.Width != nil && !p.Verbose {
		fmt.Fprint(p.W, "\r\x1b[K")
	}
	if err == nil {
		fmt.Fprintf(p.W, "tazpod: %s %s in %s\n", p.done, p.tag, p.elapsed())
		return
	}
	if p.step != "" {
		fmt.Fprintln(p.W, "tazpod: "+cut(p.state(), 160))
	}
	if !p.Verbose {
		for _, line := range p.tail {
			fmt.Fprintln(p.W, "  | "+line)
		}
	}
}

// cut shortens text to width columns, counting a character as one.
func cut(text string, width int) string {
	runes := []rune(text)
	if width < 1 || len(runes) <= width {
		return text
	}
	return string(runes[:width-1]) + "…"
}

var escapes = regexp.MustCompile("\x1b(\\[[0-9;?]*[a-zA-Z]|\\][^\x07]*\x07|.)")

// plain drops what a build's output says to a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, escapes.ReplaceAllString(s, ""))
}
