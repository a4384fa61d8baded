// Package archtest is the architecture test. It has no code besides its tests.
//
// The tests read every Go file of the repository and fail with file, line and
// reason where a package imports what it must not know, where a third-party
// library is imported outside its place, or where a wait is a sleep. The sizes
// of files, functions and types are printed as a report and never fail.
package archtest
