// Package e2e has the end-to-end tests, called rows: what the documentation
// promises, tested with real front-ends, real gunicorns and real load, and
// counted.
//
// The rows have the build tag e2e, because they need what scripts/setup installs.
// Run them with scripts/test, or some of them with
//
//	go test -tags e2e -v -run TestApacheLosesNothing/event ./scripts/e2e
//
// and with -full at their full size. Every row prints one line of numbers; lost
// is a request without its complete right answer. A row fails when a component
// that it needs is missing; nothing is skipped.
//
// row_test.go has a row with its Env and its line, fixture_test.go the usual
// setup: app, gunicorn under tideover, front-end, load. Every other file is named
// after what it tests.
package e2e
