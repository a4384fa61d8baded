package rpc

import (
	"encoding/json"
	"os"

	"tideover/proxy/remote"
	"tideover/proxy/remote/channel"
)

// Methods of the relay, called by the supervisor. The numbers do not change after a release.
const (
	methodStart uint16 = iota + 1
	methodSet
	methodRemove
	methodOpen
	methodShut
	methodMark
	methodSince
	methodAwait
	methodCut
	methodGone
	methodProve
	methodProbe
	methodTurn
	methodAdmit
	methodAnnounce
	methodEnd
	methodReclaim
	methodConfigure
	methodRetire
	methodDescribe
	methodYield
)

// Methods of the supervisor, called by the relay.
const (
	methodLost uint16 = iota + 128
	methodHolds
	methodReplace
	methodSpool
)

const (
	// maxFromRelay is how many bytes a message of the relay may have, but for what Yield returns.
	maxFromRelay = 1 << 20
	// maxConnections is how many connections a Yield returns, and an Admit takes over, at most.
	maxConnections = channel.MaxMessageFiles
)

// Codes of failures.
const (
	codeError   = channel.CodeOwn + iota // an error of the call, in words
	codeMethod                           // an unknown method
	codeMessage                          // a body that is not that of the method
)

// app is the message of a call about one app.
type app struct {
	App remote.AppID `json:"app"`
}

// set is the message of Set. The descriptors of its target, and then the pipe of the access log, travel in
// this order.
type set struct {
	remote.Set
	Main   bool `json:"main,omitempty"` // there is such a descriptor
	Socket bool `json:"socket,omitempty"`
	Pipe   bool `json:"pipe,omitempty"`
}

// reclaimed is the answer of Gone.
type reclaimed struct {
	Reclaimed int `json:"reclaimed"`
}

// door is the message of Shut.
type door struct {
	Door uint64 `json:"door"`
}

// proof is the message of Lost and Holds.
type proof struct {
	remote.ID
	Proof uint64 `json:"proof"`
}

// yes is the answer of Holds.
type yes struct {
	Yes bool `json:"yes"`
}

// none is an answer without content.
type none struct{}

// connections is the answer of Yield.
type connections struct {
	Connections []remote.Connection `json:"connections"`
}

// encode returns v as a body. Every type of this package can be encoded.
func encode(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return body
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
