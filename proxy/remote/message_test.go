package remote

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// messages are all types that cross the boundary.
var messages = []any{Settings{}, Set{}, Applied{}, Proof{}, Door{}, Mark{}, Since{}, Held{}, Await{}, Cut{}, Probe{}, ProbeAnswer{}, Admission{}, ID{}}

// Every field of a message is written and read back as it was: no func, no channel, no pointer to a
// thing that lives in one process.
func TestMessagesAreDataThatCanBeReadBack(t *testing.T) {
	for _, m := range messages {
		filled := reflect.New(reflect.TypeOf(m))
		fill(t, filled.Elem(), reflect.TypeOf(m).Name())
		text, err := json.Marshal(filled.Interface())
		if err != nil {
			t.Fatal(err)
		}
		read := reflect.New(reflect.TypeOf(m))
		if err := json.Unmarshal(text, read.Interface()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(filled.Interface(), read.Interface()) {
			t.Errorf("%T: %+v\nread back: %+v", m, filled.Elem(), read.Elem())
		}
	}
}

// Settings tell nil from empty: trusted = [] trusts none, and nil means the default.
func TestEmptyAndMissingListsStayApart(t *testing.T) {
	for _, trusted := range [][]netip.Prefix{nil, {}} {
		text, _ := json.Marshal(Set{Settings: ProxySettings{Trusted: trusted}})
		var read Set
		if err := json.Unmarshal(text, &read); err != nil || (read.Settings.Trusted == nil) != (trusted == nil) {
			t.Errorf("%v became %v (%v)", trusted, read.Settings.Trusted, err)
		}
	}
}

// fill gives every field of v a value that is not its zero.
func fill(t *testing.T, v reflect.Value, path string) {
	switch at := v.Addr().Interface().(type) {
	case *time.Time:
		*at = time.Unix(1, 5).UTC()
		return
	case *netip.Prefix:
		*at = netip.MustParsePrefix("10.0.0.0/8")
		return
	case *netip.AddrPort:
		*at = netip.MustParseAddrPort("[::1]:5")
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(-7)
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(7)
	case reflect.String:
		v.SetString("ä\x01\n")
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, v.Index(i), path)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), path)
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Tag.Get("json") != "-" {
				fill(t, v.Field(i), path+"."+f.Name)
			}
		}
	default:
		t.Errorf("%s is a %s", path, v.Type())
	}
}
