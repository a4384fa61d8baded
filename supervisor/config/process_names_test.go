package config

import (
	"path/filepath"
	"testing"
)

func TestAnAppIsFoundByTheNamesOfSupervisord(t *testing.T) {
	dir := files(t, map[string]string{"tideover.toml": `
[app.shop]
command = "sleep 9"
labels = ["site"]
[app.worker]
command = "sleep 9"
instances = 2
supervisor_names = ["jobs:worker_00", "jobs:worker_01"]
[app.celery]
command = "sleep 9"
instances = 2
[app.blog]
command = "sleep 9"
`})
	file, err := Load(filepath.Join(dir, "tideover.toml"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"shop": "site:shop", "worker:1": "jobs:worker_00", "worker:2": "jobs:worker_01", "celery:1": "celery:1", "celery:2": "celery:2", "blog": "blog:blog"}
	found := map[string][]string{}
	for _, app := range file.Apps {
		for _, one := range app.Each() {
			group, name := one.Program()
			if got := group + ":" + name; got != all[one.Name] {
				t.Errorf("%s is %s", one.Name, got)
			}
			for _, selector := range []string{"all", "site", "site:*", "site:", "site:shop", "shop", "shop:*", "shop:shop", "jobs:", "jobs:*", "jobs", "jobs:worker_01", "worker", "worker:2", "celery:", "celery:2", "blog:blog", "blog:", "blog:shop"} {
				if one.Matches(selector) {
					found[selector] = append(found[selector], one.Name)
				}
			}
		}
	}
	for selector, want := range map[string]int{"all": 6, "site": 1, "site:*": 1, "site:": 1, "site:shop": 1, "shop": 1, "shop:*": 1, "shop:shop": 0, "jobs:": 2, "jobs:*": 2, "jobs": 0,
		"jobs:worker_01": 1, "worker": 2, "worker:2": 1, "celery:": 2, "celery:2": 1, "blog:blog": 1, "blog:": 1, "blog:shop": 0} {
		if len(found[selector]) != want {
			t.Errorf("%s means %v", selector, found[selector])
		}
	}
}
