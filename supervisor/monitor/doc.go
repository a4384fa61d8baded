// Package monitor is the first process of tideover and its protocol. The monitor is the parent of
// every process: it forks on the order of the supervisor, reaps, keeps descriptors for the next
// supervisor, starts the supervisor again when it has died, forwards signals and sends the messages
// for systemd. It parses nothing but its own frames and decides nothing about apps.
//
// [Run] is the monitor. A [Client] is the supervisor's end of the channel.
package monitor
