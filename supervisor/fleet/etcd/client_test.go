package etcd

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"tideover/scripts/testenv"
	"tideover/supervisor/fleet"
)

// startEtcd starts an etcd with one member and returns its URL.
func startEtcd(t *testing.T) string {
	t.Helper()
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = testenv.Port(); err != nil {
			t.Fatal(err)
		}
	}
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("etcd", "--data-dir", filepath.Join(dir, "data"), "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer, "--unsafe-no-fsync")
	if path, err := exec.LookPath("etcd"); err != nil {
		t.Fatal("etcd is missing: scripts/setup")
	} else if version, _ := exec.Command(path, "--version").Output(); len(version) < 18 || string(version[:18]) == "etcd Version: 3.4." {
		cmd.Args = cmd.Args[:len(cmd.Args)-1] // --unsafe-no-fsync is of 3.5
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	c := New(Options{Endpoints: []string{client}, Prefix: "/x/"})
	for until := time.Now().Add(20 * time.Second); ; {
		if _, err := c.Read(t.Context()); err == nil {
			return client
		} else if time.Now().After(until) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("etcd does not answer: %v\n%s", err, said)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// The calls do with a real etcd what a rollout needs of them.
func TestTransactionsLeasesAndWatchesOfARealEtcd(t *testing.T) {
	c := New(Options{Endpoints: []string{"http://127.0.0.1:1", startEtcd(t)}, Prefix: fleet.Prefix("shop")})
	updates := make(chan Update)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Follow(ctx, updates) }()
	view, err := Apply(nil, <-updates)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := c.Grant(ctx, 15*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := c.KeepAlive(ctx, lease); err != nil || left != 15*time.Second {
		t.Fatalf("%v %v", left, err)
	}
	txn, _ := fleet.Join(view, "web1", fleet.Host{Process: "p", Apps: map[string]fleet.AppHost{"shop": {}}})
	done, revision, err := c.Commit(ctx, txn, lease)
	if err != nil || !done {
		t.Fatalf("%v %v", done, err)
	}
	if again, _, err := c.Commit(ctx, txn, lease); err != nil || again {
		t.Fatalf("a transaction was done whose condition does not hold: %v %v", again, err)
	}
	if view, err = Apply(view, <-updates); err != nil || view.Revision != revision || !view.Has("web1") {
		t.Fatalf("%v: revision %d, not %d", err, view.Revision, revision)
	}
	wish, txn, err := fleet.Start(view, fleet.Wish{App: "shop"}, "1", false)
	if err != nil || len(wish.Members) != 1 {
		t.Fatal(err, wish)
	}
	if done, _, err := c.Commit(ctx, txn, 0); err != nil || !done {
		t.Fatalf("%v %v", done, err)
	}
	if view, err = Apply(view, <-updates); err != nil {
		t.Fatal(err)
	}
	if w, ok := view.Wish(); !ok || w.ID != 1 {
		t.Fatalf("the wish is %v", w)
	}
	if err := c.Revoke(ctx, lease); err != nil {
		t.Fatal(err)
	}
	if view, err = Apply(view, <-updates); err != nil || view.Has("web1") {
		t.Fatalf("%v: the key has not ended with its lease", err)
	}
	if left, err := c.KeepAlive(ctx, lease); err != nil || left != 0 {
		t.Fatalf("an ended lease: %v %v", left, err)
	}
	cancel()
	<-ended
}

// A member that is away is left for the next one; a request that may have been carried out is not
// sent twice.
func TestAMemberThatFailsIsLeftForTheNext(t *testing.T) {
	asked := map[string]int{}
	member := func(name, answer string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked[name+r.URL.Path]++
			if answer == "" {
				w.WriteHeader(http.StatusServiceUnavailable)
				w.Write([]byte(`{"error":"etcdserver: no leader","code":14,"message":"etcdserver: no leader"}`))
				return
			}
			w.Write([]byte(answer))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	endpoints := []string{member("broken", ""), member("sound", `{"header":{"revision":"7"},"succeeded":true}`)}
	c := New(Options{Endpoints: endpoints, Prefix: "/x/"})
	if _, _, err := c.Commit(t.Context(), fleet.Txn{}, 0); err == nil {
		t.Error("a transaction of which nothing is known counts as done")
	}
	if done, revision, err := c.Commit(t.Context(), fleet.Txn{}, 0); err != nil || !done || revision != 7 {
		t.Errorf("%v %d %v", done, revision, err)
	}
	c = New(Options{Endpoints: endpoints, Prefix: "/x/"})
	if u, err := c.Read(t.Context()); err != nil || u.Revision != 7 {
		t.Errorf("%v %v", u, err)
	}
	if asked["broken/v3/kv/txn"] != 1 || asked["sound/v3/kv/txn"] != 1 || asked["broken/v3/kv/range"] != 1 {
		t.Errorf("%v", asked)
	}
}
