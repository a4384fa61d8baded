// Package fleet decides which host of a fleet reloads an app, and when all of them stop.
//
// There is no coordinator. The wish for a revision is a key in etcd; each host has a View of the keys,
// asks Next what to do, and does it by one transaction. The package computes only: it reads no
// clock, no file and no network, and the tests run it for thousands of hosts against a store of
// their own.
//
// A turn is the time in which one host may reload. It is open from the key begun to the key done
// that names it. A host begins its turn when fewer than Max other hosts are before it in the queue of
// slots or have an open turn. That count may be of an old View: a slot keeps its create revision, so
// nobody comes before it later, and who has begun is counted until its turn is closed, with or
// without a slot. So at no revision are more than Max turns open.
//
// An open turn whose host has no slot is one whose host has died or is cut off. Whoever sees it
// halts the rollout. The turn stays open, and counts, until its host closes it, or an operator says
// that the host is down.
package fleet
