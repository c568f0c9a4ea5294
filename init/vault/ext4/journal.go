package ext4

import (
	"context"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A journal's first block describes it, in big-endian numbers (the kernel's
// include/linux/jbd2.h).
const (
	journalMagic = 0xC03B3998
	journalFirst = 20 // block where the log begins
	journalStart = 28 // block of the oldest transaction; 0: there is none
)

// emptyLog returns where the log of an internal journal without transactions
// lies. No reader asks for what is in it, and the next who writes begins it anew:
// replaying ends at the first block that isn't the journal's own by magic and
// sequence, as after mke2fs -E lazy_journal_init.
func (fs *FS) emptyLog() ([]Range, error) {
	s := &fs.super
	if s.compat&compatHasJournal == 0 || s.journal == 0 {
		return nil, nil
	}
	n, err := fs.inode(s.journal)
	if err != nil {
		return nil, err
	}
	if n.mode&unix.S_IFMT != unix.S_IFREG {
		return nil, corrupt("the journal is no file")
	}
	runs, err := fs.newPass(context.Background()).runs(n)
	if err != nil || len(runs) == 0 || runs[0].logical != 0 {
		return nil, err
	}
	head, err := fs.block(runs[0].physical)
	if err != nil {
		return nil, err
	}
	be := binary.BigEndian
	if be.Uint32(head) != journalMagic || be.Uint32(head[journalStart:]) != 0 {
		return nil, nil
	}
	first := max(1, uint64(be.Uint32(head[journalFirst:])))
	var log []Range
	for _, r := range runs {
		skip := min(r.count, first-min(first, r.logical))
		log = append(log, Range{int64(r.physical+skip) * s.blockSize, int64(r.count-skip) * s.blockSize})
	}
	return log, nil
}
