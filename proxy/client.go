package proxy

// client is one connection of a client.
type client struct{}
