package network

import (
	"fmt"
	"hash/fnv"

	"golang.org/x/sys/unix"
)

// set is a set or map.
type set struct {
	family   uint8
	table    string
	name     string
	head     string // its key and data
	moving   bool   // its elements come and go by themselves
	elements int
	hash     uint64 // of the elements, in whatever order
}

func (r *Ruleset) addSet(b []byte) {
	if len(b) < 4 {
		return
	}
	a := attributeMap(b[4:])
	flags := be32(a[unix.NFTA_SET_FLAGS])
	s := &set{family: b[0], table: text(a[unix.NFTA_SET_TABLE]), name: text(a[unix.NFTA_SET_NAME]),
		moving: flags&(unix.NFT_SET_EVAL|unix.NFT_SET_TIMEOUT) != 0}
	s.head = fmt.Sprintf("set flags %#x key %#x/%d", flags, be32(a[unix.NFTA_SET_KEY_TYPE]), be32(a[unix.NFTA_SET_KEY_LEN]))
	if flags&unix.NFT_SET_MAP != 0 {
		s.head = fmt.Sprintf("map flags %#x key %#x/%d data %#x/%d", flags, be32(a[unix.NFTA_SET_KEY_TYPE]), be32(a[unix.NFTA_SET_KEY_LEN]),
			be32(a[unix.NFTA_SET_DATA_TYPE]), be32(a[unix.NFTA_SET_DATA_LEN]))
	}
	r.sets[key(b[0], a[unix.NFTA_SET_TABLE], a[unix.NFTA_SET_NAME])] = s
}

func (s *set) addElements(b []byte) {
	const keyEnd = 10 // NFTA_SET_ELEM_KEY_END
	if len(b) < 4 {
		return
	}
	for kind, list := range attributes(b[4:]) {
		if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		for _, e := range attributes(list) {
			h := fnv.New64a()
			for kind, v := range attributes(e) {
				switch kind {
				case unix.NFTA_SET_ELEM_KEY, unix.NFTA_SET_ELEM_DATA, unix.NFTA_SET_ELEM_FLAGS, unix.NFTA_SET_ELEM_OBJREF, keyEnd:
					h.Write([]byte{byte(kind)})
					h.Write(v)
				}
			}
			s.elements++
			s.hash += h.Sum64()
		}
	}
}

func (s *set) String() string {
	if s.moving {
		return s.head + ", elements that come and go"
	}
	return fmt.Sprintf("%s, %d elements %016x", s.head, s.elements, s.hash)
}
