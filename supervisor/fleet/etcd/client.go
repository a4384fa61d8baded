package etcd

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"tideover/supervisor/fleet"
)

const (
	// callTimeout is how long one member has for an answer.
	callTimeout = 3 * time.Second
	// maxAnswer bounds an answer, and a message of a stream, in bytes.
	maxAnswer = 16 << 20
)

// Options make a Client.
type Options struct {
	Endpoints []string // URLs of the members
	Prefix    string   // of all keys; see fleet.Prefix
	TLS       *tls.Config
	User      string // empty: no password is sent
	Password  string
	// Dial connects to HOST:PORT; nil: as net.Dialer does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client asks one member of an etcd after the other.
type Client struct {
	options Options
	http    *http.Client

	mu      sync.Mutex    // guards the fields below
	current int           // the member that is asked
	left    chan struct{} // closed when current changes
	token   string        // of the user; empty: none yet
}

// New returns a client. It connects when it is used.
func New(o Options) *Client {
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: callTimeout}).DialContext
	}
	return &Client{options: o, left: make(chan struct{}), http: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: dial, TLSClientConfig: o.TLS, DisableCompression: true,
			MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10},
	}}
}

// Error is the answer of etcd to a call that it does not carry out.
type Error struct {
	Code    int // of gRPC
	Status  int // of HTTP
	Message string
}

func (e *Error) Error() string { return "etcd: " + e.Message }

// isElsewhere reports whether another member may carry a call out.
func isElsewhere(err error) bool {
	var e *Error
	return !errors.As(err, &e) || e.Code == codeUnavailable || e.Status >= 500
}

// isUnsent reports whether no byte of a request was sent.
func isUnsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// member is the one that is asked now, and left is closed when it is another one.
func (c *Client) member() (endpoint string, left <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.options.Endpoints[c.current], c.left
}

// leave has the next member asked, if endpoint is asked now.
func (c *Client) leave(endpoint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.options.Endpoints[c.current] == endpoint {
		c.current = (c.current + 1) % len(c.options.Endpoints)
		close(c.left)
		c.left = make(chan struct{})
	}
}

// call asks the members until one answers. Unless again is set, a request that may have been carried
// out is not sent to another one.
func (c *Client) call(ctx context.Context, path string, request, reply any, again bool) error {
	var err error
	for range c.options.Endpoints {
		endpoint, _ := c.member()
		err = c.authorized(ctx, endpoint, func() error { return c.ask(ctx, endpoint, path, request, reply) })
		if err == nil || ctx.Err() != nil || !isElsewhere(err) {
			return err
		}
		c.leave(endpoint)
		if !again && !isUnsent(err) {
			return err
		}
	}
	return err
}

// authorized calls f with a token, and once more with another one if etcd does not know that any more.
func (c *Client) authorized(ctx context.Context, endpoint string, f func() error) error {
	for fresh := false; ; fresh = true {
		if err := c.authenticate(ctx, endpoint, fresh); err != nil {
			return err
		}
		err := f()
		var e *Error
		if fresh || c.options.User == "" || !errors.As(err, &e) || e.Code != codeUnauthenticated && e.Status != http.StatusUnauthorized {
			return err
		}
	}
}

// authenticate gets a token if there is none, or a fresh one is needed.
func (c *Client) authenticate(ctx context.Context, endpoint string, fresh bool) error {
	c.mu.Lock()
	known := c.token != ""
	c.mu.Unlock()
	if c.options.User == "" || known && !fresh {
		return nil
	}
	c.setToken("")
	var reply struct {
		Token string `json:"token"`
	}
	err := c.ask(ctx, endpoint, "/v3/auth/authenticate", map[string]string{"name": c.options.User, "password": c.options.Password}, &reply)
	if err == nil {
		c.setToken(reply.Token)
	}
	return err
}

func (c *Client) setToken(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = token
}

// ask asks a member once.
func (c *Client) ask(ctx context.Context, endpoint, path string, request, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := c.send(ctx, endpoint, path, request)
	if err != nil {
		return err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return fmt.Errorf("etcd at %s: %w", endpoint, err)
	}
	if err := json.Unmarshal(text, reply); err != nil {
		return fmt.Errorf("the answer of %s is not etcd's: %w", endpoint, err)
	}
	return nil
}

// send sends a request and returns the answer unread, or its error.
func (c *Client) send(ctx context.Context, endpoint, path string, request any) (io.ReadCloser, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(endpoint, "/")+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	// A member without a leader ends a stream instead of saying nothing.
	r.Header.Set("Grpc-Metadata-Hasleader", "true")
	c.mu.Lock()
	if c.token != "" {
		r.Header.Set("Authorization", c.token)
	}
	c.mu.Unlock()
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("etcd at %s: %w", endpoint, unwrapped(err))
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	var f failure
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if json.Unmarshal(said, &f) != nil || f.Message == "" {
		f.Message = refusal(endpoint, answer.Status, string(said))
	}
	return nil, &Error{Code: cmp.Or(f.Code, f.GRPCCode), Status: answer.StatusCode, Message: f.Message}
}

// refusal says why an answer is not one of etcd's calls.
func refusal(endpoint, status, text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if strings.HasPrefix(line, "CommonName of client") {
		return "with users, the gateway takes no client certificate that has a CommonName: fleet.cert must be without one"
	}
	return fmt.Sprintf("%s answers %s: is it an etcd with the JSON gateway?", endpoint, status)
}

// unwrapped is an error of net/http without the method and the URL.
func unwrapped(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// Commit carries a transaction out, if its conditions hold. After an error nothing is known, unless a
// later view of the keys shows it.
func (c *Client) Commit(ctx context.Context, t fleet.Txn, lease int64) (done bool, revision int64, err error) {
	var reply txnReply
	err = c.call(ctx, "/v3/kv/txn", newTxnRequest(c.options.Prefix, t, lease), &reply, false)
	return reply.Succeeded, reply.Header.Revision, err
}

// Grant makes a lease.
func (c *Client) Grant(ctx context.Context, ttl time.Duration) (lease int64, err error) {
	var reply leaseReply
	err = c.call(ctx, "/v3/lease/grant", leaseRequest{TTL: int64(ttl.Seconds())}, &reply, true)
	if err == nil && reply.ID == 0 {
		err = errors.New("etcd has granted no lease")
	}
	return reply.ID, err
}

// KeepAlive renews a lease; 0: it has ended.
func (c *Client) KeepAlive(ctx context.Context, lease int64) (left time.Duration, err error) {
	var reply streamed[leaseReply]
	err = c.call(ctx, "/v3/lease/keepalive", leaseRequest{ID: lease}, &reply, true)
	if err == nil && reply.Error != nil {
		err = &Error{Code: cmp.Or(reply.Error.Code, reply.Error.GRPCCode), Message: reply.Error.Message}
	}
	return time.Duration(reply.Result.TTL) * time.Second, err
}

// Revoke ends a lease.
func (c *Client) Revoke(ctx context.Context, lease int64) error {
	return c.call(ctx, "/v3/lease/revoke", leaseRequest{ID: lease}, &struct{}{}, true)
}
