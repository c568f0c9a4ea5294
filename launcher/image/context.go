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
)

// hostCertificates is where Debian's update-ca-certificates looks for what an
// administrator added.
const hostCertificates = "/usr/local/share/ca-certificates/*.crt"

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
// that they get there: those at paths or, when paths is nil, those that this
// host was given. A file without a certificate in it is an error, since builds
// would silently go without.
func Certificates(paths []string) (map[string][]byte, error) {
	if paths == nil {
		found, err := filepath.Glob(hostCertificates)
		if err != nil {
			return nil, err
		}
		paths = found
	}
	certificates := map[string][]byte{}
	for _, p := range paths {
		data, err := os.ReadFile(p)
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

// packProject writes a project's own build context to w: everything below dir
// but what ignored says.
func packProject(w io.Writer, dir string, ignored func(name string) bool) error {
	t := tar.NewWriter(w)
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		if ignored(name) {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		return addFile(t, file, name, entry)
	})
	if err != nil {
		return err
	}
	return t.Close()
}

// addFile writes a file with its own mode and time; what is no file, directory
// or link is left out, as docker does.
func addFile(t *tar.Writer, file, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	target := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if target, err = os.Readlink(file); err != nil {
			return err
		}
	case !info.Mode().IsRegular() && !info.IsDir():
		return nil
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header.Name = filepath.ToSlash(name)
	if info.IsDir() {
		header.Name += "/"
	}
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	if err := t.WriteHeader(header); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(t, f, header.Size); err != nil {
		return fmt.Errorf("%s changed while it was read: %w", file, err)
	}
	return nil
}
