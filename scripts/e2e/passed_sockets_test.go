//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"tideover/scripts/testenv"
)

// activate opens a socket and becomes tideover, as systemd starts a service with sockets.
const activate = `#!%s
import os, socket, sys
address = %q
if "/" in address:
    s = socket.socket(socket.AF_UNIX)
    s.bind(address)
else:
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    host, port = address.split(":")
    s.bind((host, int(port)))
s.listen(1024)
if s.fileno() == 3:
    s.set_inheritable(True)
else:
    os.dup2(s.fileno(), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="web", LISTEN_PID=str(os.getpid()))
os.execv(%q, ["tideover"] + sys.argv[1:])
`

// A socket that systemd passes is served where it is the command's address, or the command has
// none.
func TestPassedSockets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, command string // BIND is the address of the socket
		unix          bool
	}{
		{"gunicorn-bind", "gunicorn -w 2 --bind BIND shop:app", false},
		{"gunicorn-bind-unix", "gunicorn -w 2 --bind unix:BIND shop:app", true},
		{"gunicorn", "gunicorn -w 2 shop:app", true},
		{"uvicorn-uds", "uvicorn --uds BIND shop_asgi:app", true},
		{"waitress", "waitress-serve shop:app", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := begin(t)
			back := r.env.Path("shop.sock")
			if !c.unix {
				var err error
				back, err = testenv.Address()
				r.must(err)
			}
			python := r.env.Venv("servers", "python")
			binary, err := r.env.Write("activate", fmt.Sprintf(activate, python, back, testenv.Binary(r.env.Root)))
			r.must(err)
			r.must(os.Chmod(binary, 0o755))
			s := newFixture(r, setup{
				unix: c.unix, back: back, binary: binary, release: testenv.Release{Number: 1, Import: 0.5},
				own: func(address string) []string {
					words := strings.Fields(strings.ReplaceAll(c.command, "BIND", address))
					venv := "servers"
					if words[0] == "gunicorn" {
						venv = "gunicorn-latest"
					}
					return append([]string{r.env.Venv(venv, words[0])}, words[1:]...)
				},
			})
			s.reloadAndRestart(60)
		})
	}
}
