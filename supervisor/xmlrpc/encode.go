package xmlrpc

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const declaration = "<?xml version='1.0'?>\n"

// Response returns the answer of a call: a value, or a fault if err is one.
func Response(v Value) []byte {
	b := bytes.NewBufferString(declaration)
	if f, ok := v.(*Fault); ok {
		b.WriteString("<methodResponse>\n<fault>\n")
		writeValue(b, Struct{"faultCode": f.Code, "faultString": f.Text})
		b.WriteString("</fault>\n</methodResponse>\n")
		return b.Bytes()
	}
	b.WriteString("<methodResponse>\n<params>\n<param>\n")
	writeValue(b, v)
	b.WriteString("</param>\n</params>\n</methodResponse>\n")
	return b.Bytes()
}

// Request returns a call.
func Request(c Call) []byte {
	b := bytes.NewBufferString(declaration)
	b.WriteString("<methodCall>\n<methodName>" + escape(c.Method) + "</methodName>\n<params>\n")
	for _, p := range c.Params {
		b.WriteString("<param>\n")
		writeValue(b, p)
		b.WriteString("</param>\n")
	}
	b.WriteString("</params>\n</methodCall>\n")
	return b.Bytes()
}

func writeValue(b *bytes.Buffer, v Value) {
	b.WriteString("<value>")
	switch v := v.(type) {
	case string:
		b.WriteString("<string>" + escape(v) + "</string>")
	case int:
		b.WriteString("<int>" + strconv.Itoa(v) + "</int>")
	case bool:
		b.WriteString("<boolean>" + map[bool]string{false: "0", true: "1"}[v] + "</boolean>")
	case float64:
		b.WriteString("<double>" + strconv.FormatFloat(v, 'g', -1, 64) + "</double>")
	case []byte:
		b.WriteString("<base64>" + base64.StdEncoding.EncodeToString(v) + "</base64>")
	case []any:
		b.WriteString("<array><data>\n")
		for _, one := range v {
			writeValue(b, one)
		}
		b.WriteString("</data></array>")
	case Struct:
		b.WriteString("<struct>\n")
		for _, name := range slices.Sorted(maps.Keys(v)) {
			b.WriteString("<member>\n<name>" + escape(name) + "</name>\n")
			writeValue(b, v[name])
			b.WriteString("</member>\n")
		}
		b.WriteString("</struct>")
	default:
		b.WriteString("<string>" + escape(fmt.Sprint(v)) + "</string>")
	}
	b.WriteString("</value>\n")
}

// escape returns text as it stands in XML. What XML 1.0 has no character for is replaced: the output
// of a program may be any bytes.
func escape(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '\r': // a parser would make a line feed of it
			b.WriteString("&#13;")
		case r == '\t' || r == '\n' || r >= ' ' && r != utf8.RuneError && r != 0xfffe && r != 0xffff:
			b.WriteRune(r)
		default:
			b.WriteByte('?')
		}
	}
	return b.String()
}
