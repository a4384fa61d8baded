// Package history keeps what has happened: a bounded file of records (api.Record), one JSON object a
// line, that outlives the daemon, and the last of them in memory for those that follow.
//
// The file is NAME.history in the state directory, with NAME.history.1 to NAME.history.3 behind it.
// A record has its id, and can be read, once it is written: ids have no gap, and none is given
// twice, also after a power failure. A full or dead disk costs records, which are counted, and
// nothing else.
package history
