package move

import (
	"reflect"
	"strings"
	"testing"
)

// The replies are those of supervisord 4.2.5 and 4.3.0.
func TestRepliesOfSupervisordAreRead(t *testing.T) {
	const head = "<?xml version='1.0'?>\n<methodResponse>\n"
	for _, c := range []struct {
		reply string
		want  any
		fault string
	}{
		{head + "<params>\n<param>\n<value><int>4711</int></value>\n</param>\n</params>\n</methodResponse>", 4711, ""},
		{head + "<params><param><value><boolean>1</boolean></value></param></params></methodResponse>", true, ""},
		{head + "<params><param><value><string>a &lt; b</string></value></param></params></methodResponse>", "a < b", ""},
		{head + `<params><param><value><array><data><value><struct>
<member><name>name</name><value><string>shop</string></value></member>
<member><name>pid</name><value><int>0</int></value></member>
</struct></value></data></array></value></param></params></methodResponse>`, []any{map[string]any{"name": "shop", "pid": 0}}, ""},
		{head + `<fault><value><struct>
<member><name>faultCode</name><value><int>70</int></value></member>
<member><name>faultString</name><value><string>NOT_RUNNING: shop</string></value></member>
</struct></value></fault></methodResponse>`, nil, "NOT_RUNNING: shop"},
		{"<html>", nil, "cannot read the reply"},
		{head + "<params></params></methodResponse>", nil, "no value"},
	} {
		got, err := decodeReply(strings.NewReader(c.reply))
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v", c.reply, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %v", c.reply, got, err)
		}
	}
}
