// Package spool keeps bytes of requests and responses on disk: what is too long for memory, until
// a worker has taken it, or its client.
//
// All files of a [Spool] share one descriptor, that of an unlinked file, which is divided into
// blocks. So a thousand slow clients cost disk space and no descriptors, and after a crash nothing
// is left to be removed. A block that is given back is punched out of the file (fallocate(2)); with
// the last one the file is closed. A process that may open no file has them from a [Pool].
//
// A file that is kept for a slow reader has a [Holder]: it takes a quarter of the spool at most. When
// the spool is full, as many of them are evicted as waiting writes need, those first that will be
// needed longest, so that slow clients do not take the room of all others. The longer a write has
// waited, the less long such a file must be needed.
//
// A disk may be full, or may hang. Every system call on the file runs on a goroutine of its own, a
// bounded number of them at a time, and the caller waits for it until a deadline. After a failure
// nothing is written for some seconds, so that the next requests do not wait too. It is for the
// caller to go on without the spool.
package spool
