package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	hello = "Hello, world\n" // the body of a small response
	large = 100 * (1 << 20)  // bytes of a large body
)

var (
	smallResponse = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n" + hello)
	headEnd       = []byte("\r\n\r\n")
)

// A backend is the app: one thread that answers a small request with two system calls. Large bodies
// are handled by goroutines.
type backend struct {
	epoll, listener int
	buffer          [64 << 10]byte
	partial         map[int][]byte // heads that did not come in one piece, by descriptor
	stamp           string         // a file for the time of the first answer
}

// serve runs a backend on the socket that a supervisor passed (LISTEN_FDS), or else at an address or
// a unix socket's path.
func serve(address string) error {
	runtime.LockOSThread()
	b := &backend{listener: 3, partial: map[int][]byte{}, stamp: os.Getenv("STAMP")}
	if os.Getenv("LISTEN_FDS") == "" {
		file, err := listen(address)
		if err != nil {
			return err
		}
		b.listener = int(file.Fd())
		defer file.Close()
	}
	unix.SetNonblock(b.listener, true)
	var err error
	if b.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err := b.watch(b.listener); err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(b.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, e := range events[:max(0, n)] {
			if int(e.Fd) == b.listener {
				b.accept()
			} else {
				b.read(int(e.Fd))
			}
		}
	}
}

func listen(address string) (*os.File, error) {
	if !strings.HasPrefix(address, "/") {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		return l.(*net.TCPListener).File()
	}
	l, err := net.Listen("unix", address)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(address, 0o777); err != nil { // nginx and HAProxy run as other users
		return nil, err
	}
	return l.(*net.UnixListener).File()
}

func (b *backend) watch(fd int) error {
	return unix.EpollCtl(b.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (b *backend) accept() {
	for {
		fd, _, err := unix.Accept4(b.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		if err := b.watch(fd); err != nil {
			unix.Close(fd)
		}
	}
}

func (b *backend) read(fd int) {
	n, err := unix.Read(fd, b.buffer[:])
	if err == unix.EAGAIN {
		return
	}
	if n <= 0 {
		b.close(fd)
		return
	}
	request := b.buffer[:n]
	if before := b.partial[fd]; before != nil {
		request = append(before, request...)
		delete(b.partial, fd)
	}
	switch {
	case bytes.HasPrefix(request, []byte("POST ")) || bytes.HasPrefix(request, []byte("GET /large")):
		unix.EpollCtl(b.epoll, unix.EPOLL_CTL_DEL, fd, nil)
		go serveLarge(fd, bytes.Clone(request))
	case bytes.HasSuffix(request, headEnd):
		b.answer(fd, request)
	default:
		b.partial[fd] = bytes.Clone(request)
	}
}

func (b *backend) answer(fd int, request []byte) {
	if b.stamp != "" {
		os.WriteFile(b.stamp, strconv.AppendInt(nil, time.Now().UnixNano(), 10), 0o600)
		b.stamp = ""
	}
	unix.Write(fd, smallResponse)
	if bytes.Contains(request, []byte("onnection: close")) {
		b.close(fd)
	}
}

func (b *backend) close(fd int) {
	delete(b.partial, fd)
	unix.Close(fd)
}

// serveLarge answers the requests of a connection that have large bodies, either way. begun is what
// was read of the first.
func serveLarge(fd int, begun []byte) {
	file := os.NewFile(uintptr(fd), "connection")
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return
	}
	defer conn.Close()
	in := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(begun), conn), 128<<10)
	buffer := make([]byte, 128<<10)
	for {
		request, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{request.Body}, buffer); err != nil {
			return
		}
		if request.URL.Path != "/large" {
			conn.Write(smallResponse)
			continue
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", large)
		for sent := 0; sent < large; {
			n, err := conn.Write(buffer[:min(len(buffer), large-sent)])
			if sent += n; err != nil {
				return
			}
		}
	}
}
