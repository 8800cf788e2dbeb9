package standby

import (
	"bytes"
	"context"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/understudy-ha/understudy/internal/peernet"
)

// raftLogger passes Raft's warnings and errors on to the group's logger.
func raftLogger(l *slog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Warn, Output: lineWriter{l}, DisableTime: true})
}

type lineWriter struct{ l *slog.Logger }

func (w lineWriter) Write(b []byte) (int, error) {
	level, line, _ := strings.Cut(string(bytes.TrimSpace(b)), " ")
	severity := slog.LevelWarn
	switch {
	case strings.Contains(line, "use of closed network connection"), strings.Contains(line, "raft is already shutdown"),
		strings.Contains(line, peernet.ErrHungUp.Error()):
		severity = slog.LevelDebug // what closing looks like from inside
	case level == "[ERROR]":
		severity = slog.LevelError
	}
	w.l.Log(context.Background(), severity, strings.TrimSpace(line))
	return len(b), nil
}
