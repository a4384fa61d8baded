package xmlrpc

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestCallsOfKnownClientsAreRead(t *testing.T) {
	for text, want := range map[string]Call{
		// Python
		"<?xml version='1.0'?>\n<methodCall>\n<methodName>supervisor.startProcess</methodName>\n<params>\n<param>\n<value><string>shop</string></value>\n</param>\n<param>\n<value><boolean>0</boolean></value>\n</param>\n</params>\n</methodCall>\n": {"supervisor.startProcess", []any{"shop", false}},
		// without parameters
		"<methodCall><methodName>supervisor.getState</methodName></methodCall>":                  {"supervisor.getState", nil},
		"<methodCall><methodName>supervisor.getState</methodName><params></params></methodCall>": {"supervisor.getState", []any{}},
		"<methodCall><methodName>supervisor.getState</methodName><params/></methodCall>":         {"supervisor.getState", []any{}},
		// Go and PHP: a value without a type, i4, other encodings
		"<?xml version=\"1.0\" encoding=\"iso-8859-1\"?><methodCall><methodName>a.b</methodName><params><param><value>caf\xe9</value></param><param><value><i4>-3</i4></value></param></params></methodCall>": {"a.b", []any{"café", -3}},
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- x --><methodCall><methodName> a.b </methodName><params><param><value><double>1.5</double></value></param></params></methodCall>\n\n":                {"a.b", []any{1.5}},
		"<methodCall><methodName>a.b</methodName><params><param><value><base64>aGVs\nbG8=</base64></value></param><param><value/></param></params></methodCall>":                                              {"a.b", []any{"hello", ""}},
		"<methodCall><methodName>system.multicall</methodName><params><param><value><array><data><value><struct><member><name>methodName</name><value><string>a.b</string></value></member><member><name>params</name><value><array><data/></array></value></member></struct></value></data></array></value></param></params></methodCall>": {"system.multicall",
			[]any{[]any{Struct{"methodName": "a.b", "params": []any{}}}}},
	} {
		got, err := ReadCall(strings.NewReader(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nis %#v %v", text, got, err)
		}
	}
}

func TestWhatIsNoCallIsRefused(t *testing.T) {
	value := func(v string) string {
		return "<methodCall><methodName>a.b</methodName><params><param>" + v + "</param></params></methodCall>"
	}
	for name, text := range map[string]string{
		"nothing": "", "text": "hello", "another element": "<html/>", "no method": "<methodCall></methodCall>",
		"an entity":      "<!DOCTYPE a [<!ENTITY b 'c'>]>" + value("<value>&b;</value>"),
		"an external":    "<!DOCTYPE a SYSTEM 'file:///etc/passwd'>" + value("<value/>"),
		"not ended":      "<methodCall><methodName>a.b</methodName>",
		"two values":     value("<value><int>1</int><int>2</int></value>"),
		"no number":      value("<value><int>x</int></value>"),
		"a large number": value("<value><int>99999999999999999999999</int></value>"),
		"no boolean":     value("<value><boolean>2</boolean></value>"),
		"an unknown one": value("<value><x/></value>"),
		"what follows":   value("<value/>") + "<a/>",
		"deep":           value(strings.Repeat("<value><array><data>", 50) + strings.Repeat("</data></array></value>", 50)),
		"deeper":         value(strings.Repeat("<value><array><data>", 10_000)),
		"many":           value("<value><array><data>" + strings.Repeat("<value/>", maxValues) + "</data></array></value>"),
		"long":           value("<value>" + strings.Repeat("x", MaxCall) + "</value>"),
		"a long comment": value("<value/>") + "<!--" + strings.Repeat("x", MaxCall) + "-->",
		"an encoding":    "<?xml version='1.0' encoding='utf-16'?>" + value("<value/>"),
	} {
		if c, err := ReadCall(strings.NewReader(text)); err == nil {
			t.Errorf("%s is read: %v", name, c)
		}
	}
}

func TestValuesAreReadAsTheyWereWritten(t *testing.T) {
	for _, v := range []Value{"", "a <b> & \"c\"\n\t]]>", "caf\u00e9 \u4f60 \U0001f600", "carriage\r\nreturn", 0, -1, 1 << 40, true, false, 0.25, []any{}, []any{1, "a", []any{true}},
		Struct{}, Struct{"a": 1, "b&": Struct{"c": []any{}}}} {
		got, err := ReadResponse(bytes.NewReader(Response(v)), 1<<20)
		if err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%#v is %#v %v", v, got, err)
		}
		call, err := ReadCall(bytes.NewReader(Request(Call{"a.b", []any{v}})))
		if err != nil || !reflect.DeepEqual(call.Params, []any{v}) {
			t.Errorf("%#v is %#v %v", v, call, err)
		}
	}
	if got, err := ReadResponse(bytes.NewReader(Response("a\x00b\xffc\x1b")), 1<<20); err != nil || got != "a?b?c?" {
		t.Errorf("%q %v", got, err)
	}
	var fault *Fault
	if _, err := ReadResponse(bytes.NewReader(Response(&Fault{10, "BAD_NAME: x"})), 1<<20); !errors.As(err, &fault) || *fault != (Fault{10, "BAD_NAME: x"}) {
		t.Errorf("%v", err)
	}
}

func FuzzReadCall(f *testing.F) {
	f.Add([]byte("<?xml version='1.0'?>\n<methodCall>\n<methodName>a.b</methodName>\n<params>\n<param>\n<value><string>shop</string></value>\n</param>\n</params>\n</methodCall>\n"))
	f.Add([]byte("<?xml version='1.0' encoding='iso-8859-1'?><methodCall><methodName>a.b</methodName><params><param><value>\xe9<base64>YQ==</base64></value></param></params></methodCall>"))
	f.Add(Request(Call{"system.multicall", []any{[]any{Struct{"methodName": "a.b", "params": []any{1, true, 0.5}}}}}))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ReadCall(bytes.NewReader(text))
		if err != nil {
			return
		}
		if len(text) > MaxCall {
			t.Fatalf("%d bytes are read", len(text))
		}
		// What was read is written so that it is read again as the same.
		again, err := ReadCall(bytes.NewReader(Request(c)))
		if err != nil && len(Request(c)) <= MaxCall {
			t.Fatalf("%v: %q", err, Request(c))
		}
		if err == nil && !bytes.Equal(Request(again), Request(c)) {
			t.Fatalf("%q is %q", Request(c), Request(again))
		}
	})
}
