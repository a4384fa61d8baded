package member

import (
	"context"
	"flag"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/fleet"
	"tideover/supervisor/fleet/etcd"
)

// go test ./supervisor/fleet/member -run ManyHosts -v -hosts 1000 -etcd http://127.0.0.1:2379
var (
	manyHosts = flag.Int("hosts", 40, "hosts that take turns")
	realEtcd  = flag.String("etcd", "", "URL of an etcd by which they take turns; empty: a store in memory")
	manyMax   = flag.String("max", "25%", "how many of them at once")
)

// traffic counts what hosts read of etcd, and write.
type traffic struct {
	writes, read atomic.Int64 // transactions, bytes
}

// countedStore counts the transactions of a host.
type countedStore struct {
	Store
	traffic *traffic
}

func (c countedStore) Commit(ctx context.Context, t fleet.Txn, lease int64) (bool, int64, error) {
	c.traffic.writes.Add(1)
	return c.Store.Commit(ctx, t, lease)
}

// countedConn counts what comes from etcd.
type countedConn struct {
	net.Conn
	traffic *traffic
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.traffic.read.Add(int64(n))
	return n, err
}

func (c *traffic) client(group string) *etcd.Client {
	return etcd.New(etcd.Options{Endpoints: []string{*realEtcd}, Prefix: fleet.Prefix(group), Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return countedConn{conn, c}, err
	}})
}

// Each host writes a few keys for a rollout, however many there are.
func TestManyHostsTakeTurns(t *testing.T) {
	if *realEtcd != "" {
		group := fmt.Sprint("many", time.Now().Unix())
		takeTurns(t, func(c *traffic) Store { return c.client(group) })
		return
	}
	synctest.Test(t, func(t *testing.T) {
		store := newMemoryStore()
		takeTurns(t, func(*traffic) Store { return store })
		if most := *manyHosts / 4; *manyMax == "25%" && store.mostOpen > most {
			t.Errorf("%d turns were open at once, at most %d may", store.mostOpen, most)
		}
	})
}

// takeTurns has hosts join and carry out a rollout. newStore returns the store of one host.
func takeTurns(t *testing.T, newStore func(*traffic) Store) {
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	all := &traffic{}
	operator := newStore(&traffic{})
	for i := range *manyHosts {
		name := fmt.Sprintf("web%04d", i)
		apps := &hostApps{asked: map[string]*askedReload{}, app: api.AppStatus{Name: "shop", State: api.Running, Generation: 1}}
		m := New(Options{Store: countedStore{newStore(all), all}, Apps: apps, Host: name, Process: name, Wait: time.Minute, Log: func(Event) {}})
		running.Go(func() { m.Run(ctx) })
	}
	view := func() *fleet.View {
		u, err := operator.Read(ctx)
		for deadline := time.Now().Add(time.Minute); err != nil; u, err = operator.Read(ctx) { // a thousand hosts have joined at once
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			time.Sleep(interval)
		}
		v, err := etcd.Apply(nil, u)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	until := func(done func(fleet.Report) bool) {
		for deadline := time.Now().Add(20 * time.Minute); !done(view().Report("")); time.Sleep(interval) {
			if time.Now().After(deadline) {
				t.Fatal("it takes too long")
			}
		}
	}
	until(func(r fleet.Report) bool { return len(r.Hosts) == *manyHosts })
	wish, txn, err := fleet.Start(view(), fleet.Wish{App: "shop", Revision: "v2"}, *manyMax, false)
	if err != nil {
		t.Fatal(err)
	}
	writes, read, before, began := all.writes.Load(), all.read.Load(), view().Revision, time.Now()
	if done, _, err := operator.Commit(ctx, txn, 0); !done || err != nil {
		t.Fatal("the rollout does not begin: ", err)
	}
	until(func(r fleet.Report) bool { return r.Rollout.State != fleet.Running })
	took := time.Since(began)
	if r := view().Report("").Rollout; r.State != fleet.Complete {
		t.Errorf("%s: %+v", r.State, r.Halt)
	}
	hosts := float64(*manyHosts)
	each := float64(all.writes.Load()-writes) / hosts
	t.Logf("%d hosts, %d at once, reloads of %v: %v; for each host %.1f transactions, %.1f revisions, %.1f MB from etcd", *manyHosts, wish.Max, reloadTime, took.Round(time.Second),
		each, float64(view().Revision-before)/hosts, float64(all.read.Load()-read)/hosts/1e6)
	if revisions := float64(view().Revision-before) / hosts; revisions > 6 {
		t.Errorf("%.1f revisions for each host", revisions)
	}
}
