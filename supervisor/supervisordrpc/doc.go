// Package supervisordrpc has what supervisord's XML-RPC interface and its clients have in common: the
// numbers and names of faults, and the names of processes.
package supervisordrpc
