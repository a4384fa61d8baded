// Package supervisordconf turns a supervisord.conf into a tideover.toml.
//
// The file is read as supervisord reads it: iniFile has the rules of Python's
// RawConfigParser, values.go those of supervisord for single values. Each section
// and each [program:x] is converted to a block of lines, and the blocks are written
// with comments that say what is different now and what could not be carried over.
// Only files are read; nothing is started.
package supervisordconf
