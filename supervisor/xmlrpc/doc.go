// Package xmlrpc reads and writes the XML of XML-RPC, as supervisord and its clients speak it. It
// knows no methods and opens nothing.
//
// encoding/xml reads the tokens; what they may mean is decided here, within bounds on bytes, depth
// and number of values. The libraries that exist for Go map calls to methods by reflection and bound
// nothing.
package xmlrpc
