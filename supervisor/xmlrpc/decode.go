package xmlrpc

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds of a message. Clients of supervisord send some hundred bytes; a system.multicall has one
// struct for each call.
const (
	MaxCall   = 256 << 10 // bytes of a call
	maxDepth  = 40        // of elements in each other
	maxValues = 20_000
)

// A Value is a string, an int, a bool, a float64, a []any or a Struct. Reading also makes a string of
// base64 and of a date.
type Value = any

// Struct is a <struct>.
type Struct = map[string]any

// Call is a <methodCall>.
type Call struct {
	Method string
	Params []Value
}

// Fault is a <fault>.
type Fault struct {
	Code int
	Text string
}

func (f *Fault) Error() string { return f.Text }

// ReadCall reads a call of at most MaxCall bytes.
func ReadCall(r io.Reader) (Call, error) {
	d := newDecoder(r, MaxCall)
	if err := d.begin("methodCall"); err != nil {
		return Call{}, err
	}
	var c Call
	err := d.children(func(name string) (err error) {
		switch name {
		case "methodName":
			c.Method, err = d.text()
			c.Method = strings.TrimSpace(c.Method)
			return err
		case "params":
			c.Params, err = d.params()
			return err
		}
		return d.unexpected(name)
	})
	if err == nil && c.Method == "" {
		err = errors.New("the call names no method")
	}
	if err != nil {
		return Call{}, err
	}
	return c, d.end()
}

// ReadResponse reads the answer to a call, of at most bound bytes. The error is a *Fault if the
// answer is one.
func ReadResponse(r io.Reader, bound int64) (Value, error) {
	d := newDecoder(r, bound)
	if err := d.begin("methodResponse"); err != nil {
		return nil, err
	}
	var values []Value
	var fault *Fault
	err := d.children(func(name string) (err error) {
		switch name {
		case "params":
			values, err = d.params()
			return err
		case "fault":
			fault, err = d.fault()
			return err
		}
		return d.unexpected(name)
	})
	switch {
	case err != nil:
		return nil, err
	case fault != nil:
		return nil, fault
	case len(values) != 1:
		return nil, fmt.Errorf("the answer has %d values", len(values))
	}
	return values[0], nil
}

// decoder reads one message.
type decoder struct {
	*xml.Decoder
	bound  *io.LimitedReader
	depth  int
	values int
}

func newDecoder(r io.Reader, bound int64) *decoder {
	limited := &io.LimitedReader{R: r, N: bound + 1}
	d := &decoder{Decoder: xml.NewDecoder(limited), bound: limited}
	d.CharsetReader = charsetReader
	return d
}

// charsetReader reads the encodings that PHP's xmlrpc_encode_request and old clients name.
func charsetReader(charset string, input io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "utf-8", "us-ascii", "ascii":
		return input, nil
	case "iso-8859-1", "latin1":
		return &latin1{input: input}, nil
	}
	return nil, fmt.Errorf("the encoding %q is not read", charset)
}

// latin1 turns ISO 8859-1 into UTF-8.
type latin1 struct {
	input io.Reader
	left  byte // second byte of a character that did not fit; 0: none
}

func (l *latin1) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if l.left != 0 {
		p[0], l.left = l.left, 0
		return 1, nil
	}
	var one [1]byte
	n, err := l.input.Read(one[:])
	if n == 0 {
		return 0, err
	}
	if one[0] < 0x80 {
		p[0] = one[0]
		return 1, nil
	}
	p[0], l.left = 0xc0|one[0]>>6, 0x80|one[0]&0x3f
	return 1, nil
}

// next returns the next element or its end, or text. Comments and the XML declaration are passed
// over. A document type is an error: it could define entities.
func (d *decoder) next() (xml.Token, error) {
	for {
		token, err := d.Token()
		if d.bound.N <= 0 {
			return nil, errors.New("the message is too long")
		}
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.Directive:
			return nil, errors.New("a document type is not read")
		case xml.StartElement:
			if d.depth++; d.depth > maxDepth {
				return nil, errors.New("the elements are too deep")
			}
			return t, nil
		case xml.EndElement:
			d.depth--
			return t, nil
		case xml.CharData:
			return t, nil
		}
	}
}

// begin reads the outermost element.
func (d *decoder) begin(name string) error {
	for {
		token, err := d.next()
		if err != nil {
			return err
		}
		if start, ok := token.(xml.StartElement); ok {
			if start.Name.Local != name {
				return d.unexpected(start.Name.Local)
			}
			return nil
		}
	}
}

// end reads what may follow the outermost element: white space.
func (d *decoder) end() error {
	for {
		token, err := d.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if text, ok := token.(xml.CharData); !ok || strings.TrimSpace(string(text)) != "" {
			return errors.New("something follows the call")
		}
	}
}

func (d *decoder) unexpected(name string) error { return fmt.Errorf("<%s> is not expected here", name) }

// children calls f for each element in the present one, up to its end. f reads that element to its
// end. Text between the elements is passed over.
func (d *decoder) children(f func(name string) error) error {
	for {
		token, err := d.next()
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if err := f(t.Name.Local); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		}
	}
}

// childrenCalled is children where every element has this name.
func (d *decoder) childrenCalled(name string, f func() error) error {
	return d.children(func(found string) error {
		if found != name {
			return d.unexpected(found)
		}
		return f()
	})
}

// text reads the text of the present element to its end.
func (d *decoder) text() (string, error) {
	var b strings.Builder
	for {
		token, err := d.next()
		if err != nil {
			return "", err
		}
		switch t := token.(type) {
		case xml.CharData:
			b.Write(t)
		case xml.StartElement:
			return "", d.unexpected(t.Name.Local)
		case xml.EndElement:
			return b.String(), nil
		}
	}
}

// params reads <params> to its end.
func (d *decoder) params() ([]Value, error) { return d.valuesIn("param") }

// valuesIn reads the <value>s in elements called wrapper to the end of the present one.
func (d *decoder) valuesIn(wrapper string) (all []Value, err error) {
	all = []Value{}
	err = d.childrenCalled(wrapper, func() error {
		return d.childrenCalled("value", func() error {
			v, err := d.value()
			all = append(all, v)
			return err
		})
	})
	return all, err
}

func (d *decoder) fault() (*Fault, error) {
	f := &Fault{}
	err := d.children(func(name string) error {
		if name != "value" {
			return d.unexpected(name)
		}
		v, err := d.value()
		members, _ := v.(Struct)
		f.Code, _ = members["faultCode"].(int)
		f.Text, _ = members["faultString"].(string)
		return err
	})
	return f, err
}

// value reads a <value> to its end. One without an element is a string.
func (d *decoder) value() (v Value, err error) {
	if d.values++; d.values > maxValues {
		return nil, errors.New("there are too many values")
	}
	var text strings.Builder
	typed := false
	for {
		token, err := d.next()
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.CharData:
			text.Write(t)
		case xml.StartElement:
			if typed {
				return nil, d.unexpected(t.Name.Local)
			}
			typed = true
			if v, err = d.typed(t.Name.Local); err != nil {
				return nil, err
			}
		case xml.EndElement:
			if !typed {
				return text.String(), nil
			}
			return v, nil
		}
	}
}

// typed reads the element inside of a value.
func (d *decoder) typed(kind string) (Value, error) {
	switch kind {
	case "array":
		return d.array()
	case "struct":
		return d.structure()
	case "nil":
		_, err := d.text()
		return "", err
	}
	text, err := d.text()
	if err != nil {
		return nil, err
	}
	trimmed := strings.TrimSpace(text)
	switch kind {
	case "string", "dateTime.iso8601":
		return text, nil
	case "int", "i4", "i8":
		n, err := strconv.Atoi(trimmed)
		if err != nil {
			return nil, fmt.Errorf("%.20q is not a number", trimmed)
		}
		return n, nil
	case "boolean":
		if trimmed != "0" && trimmed != "1" {
			return nil, fmt.Errorf("%.20q is not 0 or 1", trimmed)
		}
		return trimmed == "1", nil
	case "double":
		x, err := strconv.ParseFloat(trimmed, 64)
		if err != nil {
			return nil, fmt.Errorf("%.20q is not a number", trimmed)
		}
		return x, nil
	case "base64":
		bytes, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		if err != nil {
			return nil, errors.New("the base64 is malformed")
		}
		return string(bytes), nil
	}
	return nil, d.unexpected(kind)
}

func (d *decoder) array() ([]Value, error) { return d.valuesIn("data") }

func (d *decoder) structure() (all Struct, err error) {
	all = Struct{}
	err = d.children(func(name string) error {
		if name != "member" {
			return d.unexpected(name)
		}
		var key string
		var v Value
		err := d.children(func(name string) (err error) {
			switch name {
			case "name":
				key, err = d.text()
				return err
			case "value":
				v, err = d.value()
				return err
			}
			return d.unexpected(name)
		})
		all[key] = v
		return err
	})
	return all, err
}
