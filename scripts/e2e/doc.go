// Package e2e holds the rows: what tideover promises, tried with real
// front-ends, real gunicorns and real load, and counted.
//
// The rows have the build tag e2e, because they need what scripts/setup
// installs. Run them with scripts/test, or one of them with
//
//	go test -tags e2e -v -run TestSeed/event ./scripts/e2e
//
// and with -full at their full size. Every row prints one line of numbers; "lost"
// is any request without its complete right answer. A row whose component is
// missing fails: nothing is skipped.
package e2e
