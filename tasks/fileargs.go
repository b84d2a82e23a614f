package tasks

// FileArgs are the arguments that every module shares that leaves a file, folder or link behind. Embed it.
type FileArgs struct {
	Mode         Mode   `arg:"mode" doc:"permissions, octal (quote it) or symbolic; preserve takes the source's"`
	Owner        string `arg:"owner" doc:"user name or number that shall own it"`
	Group        string `arg:"group" doc:"group name or number that shall own it"`
	SEUser       string `arg:"seuser" doc:"user part of the SELinux label"`
	SERole       string `arg:"serole" doc:"role part of the SELinux label"`
	SEType       string `arg:"setype" doc:"type part of the SELinux label"`
	SELevel      string `arg:"selevel" doc:"level part of the SELinux label"`
	UnsafeWrites bool   `arg:"unsafe_writes" doc:"write in place where the file cannot be replaced (mount points in containers)"`
}

// Attrs are the attributes that the arguments ask for.
func (a FileArgs) Attrs() Attrs {
	return Attrs{Mode: a.Mode, Owner: a.Owner, Group: a.Group, SELinux: SELinux{User: a.SEUser, Role: a.SERole, Type: a.SEType, Level: a.SELevel}}
}
