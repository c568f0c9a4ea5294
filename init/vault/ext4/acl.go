package ext4

// A POSIX access list is kept in a shorter form on disk (version 1: an entry
// has an id only if it names one) than system calls take (version 2).
// See the kernel's fs/ext4/acl.h and include/uapi/linux/posix_acl_xattr.h.
const (
	aclDiskVersion = 1
	aclCallVersion = 2
	aclUser        = 0x02
	aclGroup       = 0x08
	aclNoID        = 0xFFFFFFFF
)

// aclFromDisk translates a list to the form of system calls.
func aclFromDisk(disk []byte) ([]byte, error) {
	if len(disk) < 4 || le.Uint32(disk) != aclDiskVersion {
		return nil, corrupt("access control list")
	}
	out := le.AppendUint32(nil, aclCallVersion)
	for rest := disk[4:]; len(rest) > 0; {
		size, id := 4, uint32(aclNoID)
		if len(rest) >= 8 && aclNamesID(rest) {
			size, id = 8, le.Uint32(rest[4:])
		}
		if len(rest) < size || size == 4 && aclNamesID(rest) {
			return nil, corrupt("access control list")
		}
		out = append(out, rest[:4]...)
		out = le.AppendUint32(out, id)
		rest = rest[size:]
	}
	return out, nil
}

func aclNamesID(entry []byte) bool {
	tag := le.Uint16(entry)
	return tag == aclUser || tag == aclGroup
}

// aclMap translates the ids in a list in the form of system calls, in place.
func aclMap(list []byte, id func(uint32) uint32) {
	for at := 4; at+8 <= len(list); at += 8 {
		if e := list[at:]; aclNamesID(e) {
			le.PutUint32(e[4:], id(le.Uint32(e[4:])))
		}
	}
}

// aclMapDisk does it to a list as it is kept on disk, and says whether that
// changed anything.
func aclMapDisk(list []byte, id func(uint32) uint32) (changed bool) {
	for at := 4; at+4 <= len(list); at += 4 {
		if e := list[at:]; aclNamesID(e) && len(e) >= 8 {
			old := le.Uint32(e[4:])
			changed = changed || id(old) != old
			le.PutUint32(e[4:], id(old))
			at += 4
		}
	}
	return changed
}
