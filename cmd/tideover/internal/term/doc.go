// Package term lays text out: in columns, in paragraphs, in colour, in place.
//
// A Screen says what an output can show. On a terminal, text is broken to the
// width of the window, lines may be rewritten, and control characters of other
// programs are made visible. Elsewhere text goes out as it is, so that scripts
// and editors can read it. The package knows nothing of verbs or apps.
package term
