package rpc

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"tideover/proxy/remote"
	"tideover/proxy/remote/channel"
)

// holdsTimeout bounds the wait for the supervisor's word on a proof.
const holdsTimeout = time.Second

func (c *Client) SetProver(id remote.ID, p remote.Prover) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p == nil {
		delete(c.provers, id)
		return
	}
	c.provers[id] = p
}

func (c *Client) prover(id remote.ID) remote.Prover {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.provers[id]
}

// handle executes a call of the relay, in the order of their arrival. A Prover does not block.
func (c *Client) handle(r *channel.Request) {
	switch r.Method {
	case methodSpool:
		c.spool.answer(r)
		return
	case methodReplace:
		c.replaceOnce.Do(func() { close(c.replace) })
		r.Answer(encode(none{}))
		return
	}
	var question proof
	if err := json.Unmarshal(r.Body, &question); err != nil {
		r.Fail(codeMessage, err.Error())
		return
	}
	p := c.prover(question.ID)
	switch r.Method {
	case methodLost:
		if p != nil {
			p.Lost(question.Proof)
		}
		r.Answer(encode(none{}))
	case methodHolds:
		r.Answer(encode(yes{p != nil && p.Holds(question.Proof)}))
	default:
		r.Fail(codeMethod, "an unknown method")
	}
}

// prover is the supervisor's side of the proofs of a generation, in the process that relays.
type prover struct {
	server *server
	id     remote.ID
}

// Lost has the supervisor told. It does not wait for the answer: without one it is called again.
func (p *prover) Lost(number uint64) {
	s := p.server
	s.mu.Lock()
	s.lost[p.id] = max(number, s.lost[p.id])
	s.mu.Unlock()
	select {
	case s.anyLost <- struct{}{}:
	default:
	}
}

// Holds asks the supervisor, and takes true for granted where there is none that answers.
func (p *prover) Holds(number uint64) bool {
	ctx, cancel := context.WithTimeout(context.Background(), holdsTimeout)
	defer cancel()
	answer, err := p.server.askProof(ctx, methodHolds, proof{p.id, number})
	return err != nil || answer.Yes
}

// report tells the supervisor of lost proofs, and that the relay is to be replaced, until its channel
// has ended.
func (s *server) report(c *channel.Channel) {
	replace := s.replace
	for {
		select {
		case <-s.anyLost:
		case <-replace:
			replace = nil
			c.Call(context.Background(), channel.Call{Method: methodReplace, Body: encode(none{})})
			continue
		case <-c.Done():
			return
		}
		s.mu.Lock()
		lost := maps.Clone(s.lost)
		clear(s.lost)
		s.mu.Unlock()
		for id, number := range lost {
			s.askProof(context.Background(), methodLost, proof{id, number})
		}
	}
}

func (s *server) askProof(ctx context.Context, method uint16, question proof) (answer yes, err error) {
	reply, err := s.call(ctx, channel.Call{Method: method, Generation: uint64(question.Generation), Body: encode(question)})
	if err == nil {
		err = json.Unmarshal(reply.Body, &answer)
	}
	return answer, err
}
