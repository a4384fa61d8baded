// Package loadgen sends requests over HTTP/1.1 and tells whether each of them got its complete right
// answer.
//
// An OpenLoop sends at a steady rate: requests start by the clock, however long the earlier ones
// take, as visitors do. Every request of a Client carries a nonce; the app answers with the nonce
// and the digest of the body it received, so an answer that belongs to another request, or to a body
// that was cut, is found out. Nothing is ever sent again: what a client would have to repeat is
// counted as lost.
//
// A ClosedLoop is a number of clients of which each sends its next request when the last one is
// answered: for benches. A RawClient sends requests octet by octet as they are given.
package loadgen
