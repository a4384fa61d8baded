// Package move takes the programs of a running supervisord over, one app at a time, and gives
// them back. It is a client of two daemons: of supervisord by XML-RPC, and of a tideover that it
// starts with --take-over, which neither opens an address nor starts an app by itself.
//
// plan.go compares the two, rpc.go speaks to supervisord, daemon.go starts tideover, there.go and
// back.go carry one app over.
package move
