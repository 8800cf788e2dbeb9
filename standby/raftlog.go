package standby

import (
	"bytes"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger passes Raft's warnings and errors on to the group's logger.
func raftLogger(l *slog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Warn, Output: lineWriter{l}, DisableTime: true})
}

type lineWriter struct{ l *slog.Logger }

func (w lineWriter) Write(b []byte) (int, error) {
	line := string(bytes.TrimSpace(b))
	if bytes.HasPrefix(b, []byte("[ERROR]")) {
		w.l.Error(line)
	} else {
		w.l.Warn(line)
	}
	return len(b), nil
}
