// Package member takes part in the rollouts of a fleet for one host: it keeps the host's lease in
// etcd, follows the keys of the group, asks fleet.Next what to do, and has the supervisor reload the
// app in its turn.
//
// member.go is the loop, which alone knows the view and the turn; session.go keeps the lease; turn.go
// is what is done in a turn; health.go decides whether the app is worse than before.
package member
