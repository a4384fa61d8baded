// Package wall has no code of its own: its tests hold the house together.
//
// They read every Go file of the repository and fail with file, line and
// reason where one imports what it must not know, brings a third party in by
// another door, or waits by sleeping. How large files, functions and types are
// is printed and never a failure.
package wall
