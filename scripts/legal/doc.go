// Package legal makes requests that are legal, and look like those which
// browsers, command-line tools, API clients, crawlers and proxies really send:
// their fields in their order, long cookies, every octet that a target may have,
// odd spellings that the grammar allows, bodies of known length and in chunks
// with extensions and trailers.
//
// A Source is reproducible: the same seed and number give the same request. What
// it makes is legal by RFC 9110 and 9112 and RFC 3986, and within the bounds that
// it was given; only the octets beyond ASCII in values, which RFC 9110 calls
// obsolete, and the brackets and bars that browsers leave in queries go beyond
// the letter. No request has what tideover refuses by choice although the
// grammar has a place for it: a blank behind a chunk's size, a tab in an
// extension, an empty port.
package legal
