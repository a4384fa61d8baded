package etcd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"tideover/supervisor/fleet"
)

// Update is what has changed below the prefix, up to a revision.
type Update struct {
	Whole    bool // Put are all the keys
	Put      []fleet.KeyValue
	Deleted  []fleet.KeyValue // without values; Modified is when
	Revision int64            // of the last change in it
}

// Apply takes an update over. It returns v, or another View if the update has all keys. Changes that
// are in v already, because all keys were read meanwhile, are left out.
func Apply(v *fleet.View, u Update) (*fleet.View, error) {
	if u.Whole || v == nil {
		v = fleet.NewView()
	}
	var failed error
	for _, kv := range u.Deleted {
		if kv.Modified > v.Revision {
			v.Delete(kv.Key)
		}
	}
	for _, kv := range u.Put {
		if kv.Modified > v.Revision {
			failed = errors.Join(failed, v.Put(kv))
		}
	}
	v.Revision = max(v.Revision, u.Revision)
	return v, failed
}

// Read returns all keys as they are now.
func (c *Client) Read(ctx context.Context) (Update, error) {
	prefix := []byte(c.options.Prefix)
	var reply rangeReply
	if err := c.call(ctx, "/v3/kv/range", rangeRequest{prefix, prefixEnd(prefix)}, &reply, true); err != nil {
		return Update{}, err
	}
	u := Update{Whole: true, Revision: reply.Header.Revision}
	for _, kv := range reply.Kvs {
		u.Put = append(u.Put, c.keyValue(kv))
	}
	return u, nil
}

func (c *Client) keyValue(kv keyValue) fleet.KeyValue {
	return fleet.KeyValue{Key: strings.TrimPrefix(string(kv.Key), c.options.Prefix), Value: string(kv.Value), Created: kv.Created, Modified: kv.Modified}
}

// Follow passes all keys, and then each change, until ctx ends or there is an error. After that it is
// called again.
func (c *Client) Follow(ctx context.Context, updates chan<- Update) error {
	u, err := c.Read(ctx)
	if err != nil {
		return err
	}
	if err := pass(ctx, updates, u); err != nil {
		return err
	}
	endpoint, left := c.member()
	watching, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, func() { cancel(ctx.Err()) })
	defer stop()
	var looking sync.WaitGroup
	defer looking.Wait()
	defer cancel(nil)
	looking.Go(func() {
		select {
		case <-left:
			cancel(errors.New("another member of etcd is asked"))
		case <-watching.Done():
		}
	})
	err = c.authorized(watching, endpoint, func() error { return c.watch(watching, cancel, endpoint, u.Revision+1, updates) })
	if ctx.Err() == nil && isElsewhere(err) {
		c.leave(endpoint)
	}
	if cause := context.Cause(watching); cause != nil && ctx.Err() == nil {
		return cause
	}
	return err
}

// againInterval is the time until FollowAgain begins again.
const againInterval = time.Second

// FollowAgain calls follow, which is Client.Follow, again after each error, until ctx ends. failed gets
// the errors.
func FollowAgain(ctx context.Context, follow func(context.Context, chan<- Update) error, updates chan<- Update, failed func(error)) {
	for ctx.Err() == nil {
		if err := follow(ctx, updates); ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-time.After(againInterval):
		case <-ctx.Done():
		}
	}
}

func pass(ctx context.Context, updates chan<- Update, u Update) error {
	select {
	case updates <- u:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watch passes changes from a revision on.
func (c *Client) watch(ctx context.Context, cancel context.CancelCauseFunc, endpoint string, from int64, updates chan<- Update) error {
	var request watchRequest
	request.Create.Key = []byte(c.options.Prefix)
	request.Create.RangeEnd = prefixEnd(request.Create.Key)
	request.Create.StartRevision = from
	first := time.AfterFunc(callTimeout, func() { cancel(fmt.Errorf("etcd at %s does not answer", endpoint)) })
	defer first.Stop()
	body, err := c.send(ctx, endpoint, "/v3/watch", request)
	if err != nil {
		return err
	}
	defer body.Close()
	bound := &io.LimitedReader{R: body}
	decoder := json.NewDecoder(bound)
	for {
		bound.N = maxAnswer
		var message streamed[watchReply]
		if err := decoder.Decode(&message); err != nil {
			return fmt.Errorf("etcd at %s: %w", endpoint, err)
		}
		first.Stop()
		r := message.Result
		switch {
		case message.Error != nil:
			return &Error{Code: cmp.Or(message.Error.Code, message.Error.GRPCCode), Message: message.Error.Message}
		case r.Canceled:
			return fmt.Errorf("etcd at %s has ended the watch: %s", endpoint, cmp.Or(r.CancelReason, "the revision is compacted"))
		case len(r.Events) == 0:
			continue
		}
		var u Update
		last := map[string]int{}
		for i, e := range r.Events {
			last[string(e.Kv.Key)] = i
		}
		for i, e := range r.Events {
			u.Revision = max(u.Revision, e.Kv.Modified)
			switch kv := c.keyValue(e.Kv); {
			case last[string(e.Kv.Key)] != i: // a later one of this update counts
			case e.Type == "DELETE":
				u.Deleted = append(u.Deleted, kv)
			default:
				u.Put = append(u.Put, kv)
			}
		}
		if err := pass(ctx, updates, u); err != nil {
			return err
		}
	}
}
