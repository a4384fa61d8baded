// Package archtest is the architecture test. It has no code besides its tests.
//
// The tests read every Go file of the repository and fail with file, line and
// reason where a package imports what it must not know, where a third-party
// library is imported outside its place, where a wait is a sleep, or where a name
// contains a word of a closed list. The sizes of files, functions and types, and
// the pronouns in comments, are printed as a report and never fail.
package archtest
