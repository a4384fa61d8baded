// Package load sends requests at a steady rate and tells whether every one of
// them got its complete right answer.
//
// The loop is open: requests start by the clock, however long the earlier ones
// take, as visitors do. Every request carries a nonce; the app answers with the
// nonce and the digest of the body it received, so an answer that belongs to
// another request, or to a body that was cut, is found out. Nothing is ever
// sent again: what a client would have to repeat is counted as lost.
package load
