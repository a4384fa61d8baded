// Package remote is what the supervisor asks of the process that relays, and what that process
// asks of the supervisor.
//
// A [Relay] has the gates, the servers and the targets. The supervisor has none of them: it says
// what is desired and reads what is. [Local] relays in the calling process.
//
// Everything in a message is plain data, which package encoding/json writes and reads back: integers,
// strings, durations, byte slices. Descriptors are *os.File fields with the tag `json:"-"`: they
// travel beside the message, and the receiver gets duplicates. The sender keeps and closes its own.
//
// # Ownership
//
// The desired state of an app is one message, [Set]. It is the whole state, so that it can be sent
// again, to the same relay or to the next one. Its sender raises Set.Version each time; a relay
// drops one that is older than the last. Each app has one sender: its goroutine in the supervisor.
// Everything else names a generation by [ID] and may be called from any goroutine.
//
// # What a relay's death does
//
// A call that changes something returns [ErrEnded]: the change is part of the desired state, which
// the next relay gets as a whole. A wait is fulfilled and returns nil, because the requests that it
// has waited for are lost. A count is returned as far as it is known, marked as partial. What
// [Relay.State] and [Relay.Counters] read is in a [Page], which belongs to the supervisor and
// outlives each relay; [Page.CutUnderWay] counts there as cut what was in flight and held.
package remote
