package gunicorn

// Limits are the limits of a request's head in bytes, as gunicorn applies its settings; 0: none.
type Limits struct {
	RequestLine int
	Fields      int
	Field       int // of one field line
}

// DefaultLimits are gunicorn's own.
var DefaultLimits = Limits{RequestLine: 4094, Fields: 100, Field: 8190}

// Largest values that gunicorn has beside "no limit".
const (
	maxRequestLine   = 8190
	maxRequestFields = 32768
	maxField         = 8190
)

// limitsOf returns the limits that gunicorn makes of limit_request_line, limit_request_fields and
// limit_request_field_size.
func limitsOf(line, fields, field int) Limits {
	l := Limits{RequestLine: line, Fields: fields, Field: field}
	if line < 0 || line > maxRequestLine {
		l.RequestLine = maxRequestLine
	}
	if fields <= 0 || fields > maxRequestFields {
		l.Fields = maxRequestFields
	}
	if field < 0 {
		l.Field = maxField
	}
	return l
}
