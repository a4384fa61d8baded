package state

import (
	"strconv"
	"testing"
	"time"
)

func TestTheReleasesOfAnAppAreKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 30 {
		if err := s.SetReady("shop", Release{Dir: "/r/" + strconv.Itoa(i), Links: []Link{{Path: "/current", To: "r/" + strconv.Itoa(i)}}, Ready: time.Unix(int64(i), 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetFailed("shop", "/r/20"); err != nil {
		t.Fatal(err)
	}
	if err := s.SetReady("shop", Release{Dir: "/r/25", Revision: "v25", Given: true}); err != nil { // once more
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	all := open(t, dir).Releases("shop")
	if len(all) != maxReleases {
		t.Fatalf("%d are kept", len(all))
	}
	if last := all[len(all)-1]; last.Dir != "/r/25" || last.Revision != "v25" || !last.Given {
		t.Errorf("the last one is %+v", last)
	}
	for _, r := range all {
		if failed := r.Dir == "/r/20"; r.Failed != failed {
			t.Errorf("%+v", r)
		}
	}
	if other := open(t, t.TempDir()).Releases("shop"); len(other) != 0 {
		t.Errorf("%v", other)
	}
}

func TestAReleaseThatIsReadyAgainHasNotFailed(t *testing.T) {
	s := open(t, t.TempDir())
	for _, err := range []error{s.SetReady("shop", Release{Dir: "/a"}), s.SetFailed("shop", "/a"), s.SetFailed("shop", "/unknown"), s.SetFailed("other", "/a"), s.SetReady("shop", Release{Dir: "/a"})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if all := s.Releases("shop"); len(all) != 1 || all[0].Failed {
		t.Errorf("%+v", all)
	}
}
