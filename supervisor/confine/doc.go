// Package confine takes from a process of tideover that parses what clients and apps send
// (relay, admin) what it does not need.
//
// A role calls Confine before it receives its first descriptor. The supervisor calls Verify,
// which reads /proc, and only then sends a listening socket. Each measure is a second line
// behind the others: chroot and the user keep files and processes of others away, the
// seccomp filter (syscalls.go) refuses the system calls that open, execute, trace and bind,
// and Landlock refuses files and abstract sockets where there is no chroot.
//
// A directory descriptor leads out of a chroot: openat(fd, "../../../etc/passwd"). So Confine
// refuses to go on while the process has one, and the seccomp filter has no openat.
//
// Where the daemon is not root the user stays, and there is no chroot. Where the kernel or a
// container has no seccomp or no Landlock the rest is done. Confine returns for each measure
// whether it holds.
package confine
