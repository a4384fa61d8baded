package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tideover/supervisor/api"
)

// An app that was refused a process is named, with the limit of its cgroup, and others are not.
func TestAnAppAtItsPidsLimitIsNamed(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"proc/7/cgroup": "4:memory:/x\n0::/tideover-1-shop.1\n",
		"pids.events":   "max 9\n", // of nothing that runs: an app without a process has no cgroup
		"proc/8/cgroup": "0::/tideover-1-blog.1\n",
		"sys/fs/cgroup/tideover-1-shop.1/pids.max":    "384\n",
		"sys/fs/cgroup/tideover-1-shop.1/pids.events": "max 12\n",
		"sys/fs/cgroup/tideover-1-blog.1/pids.events": "max 0\n",
	} {
		file := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	x := &examination{Examined: Examined{Root: root, Status: &api.Status{Apps: []api.AppStatus{{Name: "shop", Pid: 7}, {Name: "blog", Pid: 8}, {Name: "down"}}}}}
	x.pids()
	if len(x.found) != 1 || x.found[0].App != "shop" || !strings.Contains(x.found[0].Message, "12 times: its cgroup may have 384") {
		t.Errorf("%+v", x.found)
	}
}
