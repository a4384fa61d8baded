package etcd

import (
	"tideover/supervisor/fleet"
)

// The messages are those of etcd's rpc.proto in the JSON of protocol buffers: bytes are base64, and
// numbers of 64 bits are strings.

type header struct {
	Revision int64 `json:"revision,string"`
}

type keyValue struct {
	Key      []byte `json:"key"`
	Value    []byte `json:"value"`
	Created  int64  `json:"create_revision,string"`
	Modified int64  `json:"mod_revision,string"`
}

type rangeRequest struct {
	Key      []byte `json:"key"`
	RangeEnd []byte `json:"range_end,omitempty"`
}

type rangeReply struct {
	Header header     `json:"header"`
	Kvs    []keyValue `json:"kvs"`
}

type compare struct {
	Key      []byte `json:"key"`
	Target   string `json:"target"`
	Result   string `json:"result"`
	Created  *int64 `json:"create_revision,string,omitempty"`
	Modified *int64 `json:"mod_revision,string,omitempty"`
}

type putRequest struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
	Lease int64  `json:"lease,string,omitempty"`
}

type requestOp struct {
	Put    *putRequest   `json:"request_put,omitempty"`
	Delete *rangeRequest `json:"request_delete_range,omitempty"`
}

type txnRequest struct {
	Compare []compare   `json:"compare"`
	Success []requestOp `json:"success"`
}

type txnReply struct {
	Header    header `json:"header"`
	Succeeded bool   `json:"succeeded"`
}

// newTxnRequest is a transaction on keys below a prefix. Keys that are leased end with lease.
func newTxnRequest(prefix string, t fleet.Txn, lease int64) txnRequest {
	r := txnRequest{Compare: []compare{}, Success: []requestOp{}}
	for _, c := range t.If {
		one := compare{Key: []byte(prefix + c.Key), Result: "EQUAL", Target: "CREATE", Created: &c.Revision}
		if c.Modified {
			one.Target, one.Created, one.Modified = "MOD", nil, &c.Revision
		}
		r.Compare = append(r.Compare, one)
	}
	for _, op := range t.Then {
		key := []byte(prefix + op.Key)
		switch {
		case op.Delete && op.Below:
			r.Success = append(r.Success, requestOp{Delete: &rangeRequest{key, prefixEnd(key)}})
		case op.Delete:
			r.Success = append(r.Success, requestOp{Delete: &rangeRequest{Key: key}})
		default:
			p := &putRequest{Key: key, Value: []byte(op.Value)}
			if op.Leased {
				p.Lease = lease
			}
			r.Success = append(r.Success, requestOp{Put: p})
		}
	}
	return r
}

// prefixEnd is the first key behind those that begin with prefix, which does not end with 0xff.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	end[len(end)-1]++
	return end
}

type leaseRequest struct {
	ID  int64 `json:"ID,string,omitempty"`
	TTL int64 `json:"TTL,string,omitempty"`
}

type leaseReply struct {
	ID  int64 `json:"ID,string"`
	TTL int64 `json:"TTL,string"`
}

type watchRequest struct {
	Create struct {
		Key           []byte `json:"key"`
		RangeEnd      []byte `json:"range_end"`
		StartRevision int64  `json:"start_revision,string"`
	} `json:"create_request"`
}

type watchReply struct {
	Header          header `json:"header"`
	Created         bool   `json:"created"`
	Canceled        bool   `json:"canceled"`
	CompactRevision int64  `json:"compact_revision,string"`
	CancelReason    string `json:"cancel_reason"`
	Events          []struct {
		Type string   `json:"type"` // PUT is left out
		Kv   keyValue `json:"kv"`
	} `json:"events"`
}

// streamed is a message of a stream.
type streamed[R any] struct {
	Result R        `json:"result"`
	Error  *failure `json:"error"`
}

// failure is an error of etcd. In a stream, and since 3.6, the code is elsewhere.
type failure struct {
	Code     int    `json:"code"`
	GRPCCode int    `json:"grpc_code"`
	Message  string `json:"message"`
}

// Codes of gRPC.
const (
	codeUnavailable     = 14
	codeUnauthenticated = 16
)
