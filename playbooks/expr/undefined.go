package expr

import (
	"errors"
	"fmt"
)

// Undefined is the value of a variable, key or attribute that does not exist. It may be passed around, tested with
// "is defined" and replaced by default(); any other use fails with it as the error.
// Attributes and items of an undefined value are that same undefined value.
type Undefined struct {
	Name    string // the variable, key or attribute
	Message string // as Ansible says it: "'foo' is undefined"
	soft    bool   // what "x if y" without else gives: prints as nothing, counts as false
}

func (u *Undefined) Error() string { return u.Message }

// use fails, unless u counts as nothing.
func (u *Undefined) use() {
	if !u.soft {
		panic(failure{u})
	}
}

func undefinedName(name string) *Undefined {
	return &Undefined{Name: name, Message: fmt.Sprintf("'%s' is undefined", name)}
}

// undefinedMember is what x has under key when it has nothing.
func undefinedMember(x, key any) *Undefined {
	kind := typeName(x) + " object"
	if x == nil {
		kind = "None"
	}
	name, ok := key.(string)
	if !ok {
		return &Undefined{Name: pyRepr(key), Message: fmt.Sprintf("%s has no element %s", kind, pyRepr(key))}
	}
	return &Undefined{Name: name, Message: fmt.Sprintf("'%s' has no attribute '%s'", kind, name)}
}

// failure is how an evaluation that cannot go on unwinds, as in text/template: helpers deep inside panic with one,
// and only the exported functions of this package recover it. No other panic is recovered.
type failure struct{ err error }

func fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func failErr(err error) { panic(failure{err}) }

// catch turns a failure into err.
func catch(err *error) {
	switch r := recover().(type) {
	case nil:
	case failure:
		*err = r.err
	default:
		panic(r)
	}
}

// attempt runs fn and gives its failure as an error.
func attempt(fn func()) (err error) {
	defer catch(&err)
	fn()
	return nil
}

// isUndefined tells whether err comes from the use of an undefined value.
func isUndefined(err error) bool {
	var u *Undefined
	return errors.As(err, &u)
}
