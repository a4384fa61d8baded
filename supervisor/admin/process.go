package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/listener"
	"tideover/supervisor/confine"
)

const (
	// startTimeout bounds the time until the process is confined.
	startTimeout = 10 * time.Second
	// endTimeout is how long the process has to end by itself.
	endTimeout = 2 * time.Second
	// maxLines and maxLine bound what is kept of what the process writes before it ends: a panic.
	maxLines, maxLine = 100, 500
)

// A roleProcess is an admin process.
type roleProcess struct {
	cmd      *exec.Cmd
	channel  channel
	control  *os.File // the daemon's end of the socket pair for the control protocol
	measures []confine.Measure
	exited   chan struct{} // closed when it was waited for
	said     []string      // what it has written to standard error, once exited is closed
}

// fork starts the process, which waits for its first message. If the error is nil, control belongs
// to the caller.
func fork() (*roleProcess, error) {
	ours, theirs, err := socketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	p := &roleProcess{exited: make(chan struct{}), cmd: exec.Command("/proc/self/exe")}
	if p.channel, err = newChannel(ours); err != nil {
		return nil, err
	}
	control, viewer, err := socketPair(unix.SOCK_STREAM)
	if err != nil {
		p.channel.conn.Close()
		return nil, err
	}
	defer viewer.Close()
	p.control = control
	p.cmd.Args, p.cmd.Dir, p.cmd.Env = []string{roleName}, "/", []string{"GOMEMLIMIT=64MiB", "GOTRACEBACK=single"}
	p.cmd.ExtraFiles = []*os.File{theirs, viewer}
	// Not a session of its own: process.Reap tells the children that os/exec waits for by this one.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output, err := p.cmd.StderrPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		p.channel.conn.Close()
		control.Close()
		return nil, err
	}
	go p.wait(output)
	return p, nil
}

// confine has the process confine itself, verifies that, and sends it the listening sockets. After
// an error the process is gone.
func (p *roleProcess) confine(sockets map[endpoint]*listener.Public, to Addresses, o confine.Options) error {
	err := p.order(sockets, to, o)
	if err == nil {
		return nil
	}
	p.kill()
	if len(p.said) > 0 {
		err = fmt.Errorf("%w: %s", err, p.said[0])
	}
	return err
}

func (p *roleProcess) order(sockets map[endpoint]*listener.Public, to Addresses, o confine.Options) error {
	p.channel.conn.SetDeadline(time.Now().Add(startTimeout))
	if err := p.channel.send(order{Confinement: o, SystemRoots: to.Fleet.needsSystemRoots()}, nil); err != nil {
		return err
	}
	var r readiness
	if _, err := p.channel.receive(&r); err != nil {
		return fmt.Errorf("it has not confined itself: %w", err)
	}
	if r.Error != "" {
		return errors.New(r.Error)
	}
	p.measures = r.Measures
	if err := confine.Verify(p.cmd.Process.Pid, o); err != nil {
		return fmt.Errorf("it is not confined: %w", err)
	}
	for at, socket := range sockets {
		if err := p.sendDoor(at, socket); err != nil {
			return err
		}
	}
	if err := p.sendFleet(to.Fleet); err != nil {
		return err
	}
	if err := p.channel.send(door{Supervisor: to.Supervisor, Page: to.Page}, nil); err != nil {
		return err
	}
	return p.channel.conn.SetDeadline(time.Time{})
}

func (p *roleProcess) sendDoor(at endpoint, socket *listener.Public) error {
	file, err := socket.File()
	if err != nil {
		return err
	}
	defer file.Close()
	return p.channel.send(door{For: at}, file)
}

// wait keeps the first lines that the process writes, and waits for its end. The error of Wait is
// not used: in a container process.Reap may have reaped it, if it was started before Reap began.
func (p *roleProcess) wait(output io.Reader) {
	defer close(p.exited)
	lines := bufio.NewScanner(io.LimitReader(output, maxLines*maxLine))
	for lines.Scan() && len(p.said) < maxLines {
		text := lines.Text()
		p.said = append(p.said, text[:min(len(text), maxLine)])
	}
	io.Copy(io.Discard, output)
	p.cmd.Wait()
}

// end ends the process and waits until it is gone.
func (p *roleProcess) end() {
	p.channel.conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.kill()
	}
}

// kill ends the process at once and waits until it is gone. It may be called more than once.
func (p *roleProcess) kill() {
	p.cmd.Process.Kill()
	<-p.exited
	p.channel.conn.Close()
}

// socketPair returns two connected unix sockets, close-on-exec.
func socketPair(kind int) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "daemon"), os.NewFile(uintptr(fds[1]), "admin"), nil
}
