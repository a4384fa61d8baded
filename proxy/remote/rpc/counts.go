package rpc

import (
	"context"

	"tideover/proxy/awake"
	"tideover/proxy/remote"
)

// look asks the relay for what it counts. Where it does not answer in time, the last answer counts.
func look[K comparable, A any](c *Client, method uint16, generation int, question any, known map[K]A, key K) A {
	ctx, cancel := awake.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	answer, err := ask[A](ctx, c, method, generation, question)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		return known[key]
	}
	known[key] = answer
	return answer
}

func (c *Client) State(id remote.AppID) remote.State {
	return look(c, methodState, 0, app{id}, c.known.states, id)
}

func (c *Client) Clients() remote.Clients {
	return look(c, methodClients, 0, none{}, c.known.clients, none{})
}

func (c *Client) Counters(id remote.AppID) remote.Counters {
	return look(c, methodCounters, 0, app{id}, c.known.counters, id)
}

// Known returns the totals of an app as far as they are known, without asking the relay.
func (c *Client) Known(id remote.AppID) remote.Counters {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.counters[id]
}

func (c *Client) Use(id remote.ID) remote.Use {
	return look(c, methodUse, id.Generation, id, c.known.uses, id)
}

func (c *Client) Heard(id remote.ID) bool {
	ctx, cancel := awake.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	heard, err := ask[yes](ctx, c, methodHeard, id.Generation, id)
	return err == nil && heard.Yes
}
