package supervisordconf

import (
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// Names are those that supervisorctl status prints.
func TestProgramsHaveTheNamesThatSupervisordGivesTheirProcesses(t *testing.T) {
	dir := files(t, map[string]string{"supervisord.conf": `[unix_http_server]
file=%(here)s/supervisor.sock
username=u
password=p
[program:shop]
command=cat
stopwaitsecs=40
[program:celery]
command=celery worker
process_name=%(program_name)s_%(process_num)02d
numprocs=2
[program:web]
command=node server.js 80%(process_num)02d
process_name=w%(process_num)d
numprocs=2
numprocs_start=1
[program:alone]
command=cat
process_name=other
[group:site]
programs=shop
`})
	programs, server, err := Programs(filepath.Join(dir, "supervisord.conf"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []Program{
		{"program:shop", "shop", []string{"site:shop"}, 40 * time.Second},
		{"program:celery", "celery", []string{"celery:celery_00", "celery:celery_01"}, 10 * time.Second},
		{"program:web", "web-1", []string{"web:w1"}, 10 * time.Second},
		{"program:web", "web-2", []string{"web:w2"}, 10 * time.Second},
		{"program:alone", "alone", []string{"alone:other"}, 10 * time.Second},
	}
	if !reflect.DeepEqual(programs, want) {
		t.Errorf("%+v", programs)
	}
	if want := (Server{"unix", filepath.Join(dir, "supervisor.sock"), "u", "p"}); server != want {
		t.Errorf("%+v", server)
	}
	for port, want := range map[string]string{"9001": "localhost:9001", "*:9001": "localhost:9001", "127.0.0.1:9001": "127.0.0.1:9001", ":9001": "localhost:9001"} {
		if got := localAddress(port); got != want {
			t.Errorf("%s: %s", port, got)
		}
	}
}
