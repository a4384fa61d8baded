package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
)

const (
	maxProbeHead = 64 << 10
	maxProbeBody = 512 // that are read
	maxProbeText = 512 // of a line of the answer, and of an error
)

// Probe is that of Relay. The connection is closed at once: an idle one would block a sync worker.
func (l *Local) Probe(ctx context.Context, p Probe) (ProbeAnswer, error) {
	scheme := "http://"
	if p.TLS {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+p.Host+p.Path, nil)
	if err != nil {
		return ProbeAnswer{Failure: ProbeOther, Error: err.Error()}, nil
	}
	req.Header.Set("User-Agent", p.UserAgent)
	req.Header.Set("Connection", "close")
	client := http.Client{
		Transport: &http.Transport{
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxProbeHead,
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10},
			DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx, p) },
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ProbeAnswer{Failure: failure(err, p.TLS)}, ctx.Err()
		}
		return ProbeAnswer{Failure: failure(err, p.TLS), Error: truncate(plainError(err))}, nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProbeBody))
	return ProbeAnswer{Status: resp.StatusCode, Line: truncate(resp.Status), ContentType: truncate(resp.Header.Get("Content-Type")), Body: body}, nil
}

func truncate(text string) string { return text[:min(len(text), maxProbeText)] }

// dial connects to the address of a probe, under its proof.
func (l *Local) dial(ctx context.Context, p Probe) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, p.Network, p.Address)
	if err != nil {
		return nil, err
	}
	if prover := l.prover(p.ID); p.Verify && prover != nil && !prover.Holds(p.Proof) {
		conn.Close()
		return nil, syscall.ECONNREFUSED // by the socket that was proven
	}
	if p.Line != "" {
		return &lineConn{conn, p.Line}, nil
	}
	return conn, nil
}

// lineConn writes a line before the first bytes, with one system call: between two, a server that dies
// would leave a connection of which it is not known what was read.
type lineConn struct {
	net.Conn
	line string
}

func (c *lineConn) Write(p []byte) (int, error) {
	if c.line == "" {
		return c.Conn.Write(p)
	}
	n, err := c.Conn.Write(append([]byte(c.line), p...))
	n = max(0, n-len(c.line))
	c.line = ""
	return n, err
}

// failure is the kind of an error.
func failure(err error, overTLS bool) ProbeFailure {
	var op *net.OpError
	isOp := errors.As(err, &op)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return ProbeRefused
	case overTLS && isOp && op.Op == "remote error": // as package tls marks an alert
		return ProbeTLSAlert
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, os.ErrDeadlineExceeded):
		return ProbeTimeout
	case isOp && op.Op == "dial":
		return ProbeOther
	}
	return ProbeClosed
}

// plainError removes Go's wrapping from the error of a request.
func plainError(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	if errors.Is(err, io.EOF) {
		return "the connection was closed without an answer"
	}
	var request *url.Error
	if errors.As(err, &request) {
		return strings.TrimSpace(request.Err.Error())
	}
	return err.Error()
}
