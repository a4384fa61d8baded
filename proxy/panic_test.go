package proxy

import (
	"strings"
	"testing"

	"tideover/proxy/gate"
)

func TestAPanicCostsItsConnectionAndNoOther(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for point, request := range map[string]string{
		"head":                  "GET /!head HTTP/1.1\nHost: a\n\n",
		"head of an upload":     "POST /!head HTTP/1.1\nHost: a\nContent-Length: 1048576\n\n" + long,
		"response":              "GET /!response HTTP/1.1\nHost: a\n\n",
		"response to an upload": "POST /!response HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello",
		"upload":                "POST /!upload HTTP/1.1\nHost: a\nContent-Length: 1048576\n\n" + long,
		"tunnel":                strings.Replace(handshake, "/ws", "/!tunnel", 1),
	} {
		t.Run(point, func(t *testing.T) {
			r := newHarness(t, patient, Settings{PanicOn: "/!"})
			app := r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
				if point == "tunnel" {
					switching(k)
				} else {
					echo(k)
				}
			})
			other := r.newTestApp(gate.TargetOptions{Name: "shop.2"}, echo)
			r.gate.Swap(other.Target)
			kept := r.dial()
			kept.get("/kept").want(200, "/kept")
			r.gate.Swap(app.Target)
			c := r.dial()
			c.Conn.Write([]byte(strings.ReplaceAll(request, "\n", "\r\n")))
			if point != "tunnel" {
				c.ended()
			} else {
				c.want(101, "")
				c.ended()
			}
			r.eventually("nothing in flight", func() bool { return app.InFlight() == 0 && app.Tunnels() == 0 })
			if lines := r.logged("panic while a connection was served"); len(lines) != 1 || !strings.Contains(lines[0]["stack"].(string), "panicAt") {
				t.Errorf("%d panics are logged: %v", len(lines), lines)
			}
			r.gate.Swap(other.Target)
			kept.get("/again").want(200, "/again")
			r.dial().get("/").want(200, "/")
		})
	}
}
