package sys

import "testing"

// TestExtents: nothing is mapped twice, and only the exception and what it
// displaces are not the same on both sides.
func TestExtents(t *testing.T) {
	for _, e := range []struct {
		ids   IDs
		limit uint32
	}{{IDs{Inside: 1000, Outside: 71000}, 1 << 16}, {IDs{Inside: 1000, Outside: 1000}, 1 << 16},
		{IDs{Inside: 1000, Outside: 1001}, 1 << 16}, {IDs{Inside: 1000, Outside: 501}, 1 << 16},
		{IDs{Inside: 0, Outside: 71000}, 1 << 17}, {IDs{Inside: 1234, Outside: 71000}, 1<<17 + 5},
		{IDs{Inside: 99_999, Outside: 71000}, 1 << 16}, {IDs{Inside: 65535, Outside: 71000}, 1 << 16}} {
		inside, outside := map[int]bool{}, map[int]bool{}
		for _, x := range e.ids.Extents(e.limit) {
			for i := range x.Size {
				in, out := x.ContainerID+i, x.HostID+i
				if inside[in] || outside[out] {
					t.Fatalf("Extents(%+v, %d) has %d or %d twice", e.ids, e.limit, in, out)
				}
				if in != out && (in != int(e.ids.Inside) || out != int(e.ids.Outside)) {
					t.Errorf("Extents(%+v, %d) maps %d to %d", e.ids, e.limit, in, out)
				}
				inside[in], outside[out] = true, true
			}
		}
		if !inside[int(e.ids.Inside)] || !outside[int(e.ids.Outside)] {
			t.Errorf("Extents(%+v, %d) lacks the exception", e.ids, e.limit)
		}
		for id := range int(e.limit) {
			if !inside[id] && uint32(id) != e.ids.Outside {
				t.Errorf("Extents(%+v, %d) lacks %d", e.ids, e.limit, id)
				break
			}
		}
	}
}
