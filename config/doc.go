// Package config reads a member's configuration: a YAML file, over it the
// environment (UNDERSTUDY_ and the key in capitals), over it the command
// line's flags (the key with dashes). The result is strict: a key, variable or
// value that means nothing is an error that names where it is and what to do,
// and all problems are reported at once.
//
// Every key is described in docs/configuration.md. [Load] reads a file,
// [Member.Standby] loads the founding record and the keys that it points to
// and makes a standby.Config of it.
package config
