// Package etcd is a client of etcd for the keys of one group of a fleet. It speaks the JSON gateway
// (/v3/...), which every member of an etcd 3.4 or newer has, by net/http.
//
// client.go has the calls and the choice of a member; follow.go has the keys of the group as they
// change; messages.go is the JSON.
package etcd
