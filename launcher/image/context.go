package image

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tazzo/tazpod/launcher/tree"
)

// hostCertificates is where Debian's update-ca-certificates looks for what an
// administrator added.
const hostCertificates = "/usr/local/share/ca-certificates/*.crt"

const maxCertificate = 1 << 20 // bytes, of a file

const (
	certificateDir = "ca-certificates" // in every context, often empty
	initFile       = "tazpod-init"     // in the context of an image that has no parent
)

// pack writes a build context as a tar: the files of tree, the certificates
// and, unless it is nil, tazpod-init. The same input gives the same bytes.
func pack(tree fs.FS, certificates map[string][]byte, init []byte) ([]byte, error) {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case entry.IsDir():
			return add(w, name+"/", 0o755, nil)
		case !entry.Type().IsRegular():
			return fmt.Errorf("build context: %s is neither a file nor a directory", name)
		}
		data, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		mode := int64(0o644) // an embedded file has lost its own
		if bytes.HasPrefix(data, []byte("#!")) {
			mode = 0o755
		}
		return add(w, name, mode, data)
	})
	if err != nil {
		return nil, err
	}
	if err := add(w, certificateDir+"/", 0o755, nil); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(certificates))
	for name := range certificates {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := add(w, path.Join(certificateDir, name), 0o644, certificates[name]); err != nil {
			return nil, err
		}
	}
	if init != nil {
		if err := add(w, initFile, 0o711, init); err != nil {
			return nil, err
		}
	}
	return buffer.Bytes(), w.Close()
}

// add writes one entry, root's and without times.
func add(w *tar.Writer, name string, mode int64, data []byte) error {
	header := &tar.Header{Name: name, Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	if strings.HasSuffix(name, "/") {
		header.Typeflag = tar.TypeDir
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

// Certificates reads the extra certificates that go into images, by the name
// that they get there: those at paths, which are relative to in unless that is
// nil, or, when paths is nil, those that this host was given. A file without a
// certificate in it is an error, since builds would silently go without.
func Certificates(in *tree.Tree, paths []string) (map[string][]byte, error) {
	read := os.ReadFile
	if in != nil {
		read = func(path string) ([]byte, error) { return in.Read(path, maxCertificate) }
	}
	if paths == nil {
		found, err := filepath.Glob(hostCertificates)
		if err != nil {
			return nil, err
		}
		paths = found
	}
	certificates := map[string][]byte{}
	for _, p := range paths {
		data, err := read(p)
		if err != nil {
			return nil, fmt.Errorf("extra certificate: %w", err)
		}
		block, _ := pem.Decode(data)
		if block == nil {
			return nil, fmt.Errorf("extra certificate %s: no PEM block in it", p)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("extra certificate %s: %w", p, err)
		}
		name := strings.TrimSuffix(filepath.Base(p), filepath.Ext(p)) + ".crt"
		if _, taken := certificates[name]; taken {
			return nil, fmt.Errorf("extra certificate %s: there are two of this name", p)
		}
		certificates[name] = data
	}
	return certificates, nil
}

// packProject writes a project's own build context to w: everything below files
// but what ignored says. The Dockerfile is the one that was read before, and is
// there in any case.
func packProject(w io.Writer, files *tree.Tree, dockerfile string, text []byte, ignored func(name string) bool) error {
	p := &packer{tar.NewWriter(w), dockerfile, text, ignored, false}
	if err := p.directory(files, ""); err != nil {
		return err
	}
	if !p.done {
		if err := add(p.tar, filepath.ToSlash(dockerfile), 0o644, text); err != nil {
			return err
		}
	}
	return p.tar.Close()
}

type packer struct {
	tar        *tar.Writer
	dockerfile string
	text       []byte
	ignored    func(name string) bool
	done       bool // the Dockerfile is in
}

// directory writes what is in a directory that is called prefix in the context.
func (p *packer) directory(at *tree.Tree, prefix string) error {
	names, err := at.Names()
	if err != nil {
		return err
	}
	for _, base := range names {
		name := filepath.Join(prefix, base)
		if p.ignored(name) {
			continue
		}
		if err := p.entry(at, base, name); err != nil {
			return err
		}
	}
	return nil
}

// entry writes one entry with its own mode and time, and what is below it; what
// is no file, directory or link is left out, as docker does.
func (p *packer) entry(at *tree.Tree, base, name string) error {
	info, err := at.Stat(base)
	switch {
	case err != nil:
		return err
	case name == p.dockerfile:
		p.done = true
		return add(p.tar, filepath.ToSlash(name), int64(info.Mode().Perm()), p.text)
	case info.IsDir():
		below, err := at.Dir(base)
		if err != nil {
			return err
		}
		defer below.Close()
		if err := p.header(info, name+"/", ""); err != nil {
			return err
		}
		return p.directory(below, name)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := at.Link(base)
		if err != nil {
			return err
		}
		return p.header(info, name, target)
	case info.Mode().IsRegular():
		return p.file(at, base, name)
	}
	return nil
}

func (p *packer) file(at *tree.Tree, base, name string) error {
	f, err := at.File(base)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := p.header(info, name, ""); err != nil {
		return err
	}
	if _, err := io.CopyN(p.tar, f, info.Size()); err != nil {
		return fmt.Errorf("%s changed while it was read: %w", at.Path(base), err)
	}
	return nil
}

func (p *packer) header(info fs.FileInfo, name, target string) error {
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header.Name = filepath.ToSlash(name)
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	return p.tar.WriteHeader(header)
}
