// Package doctor compares a configuration and the daemon that runs with the
// machine: limits, memory, disks, systemd, and the front-ends. It looks, and changes
// nothing. `tideover doctor` prints its findings, each with its remedy.
package doctor
