package standby

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/peernet"
)

// peerHandler serves the other members. Connections are authenticated before a
// byte of HTTP is read; everything asked for is bounded.
func (g *Group) peerHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /peer/position", g.servePosition)
	mux.HandleFunc("GET /peer/standing", g.serveStanding)
	mux.HandleFunc("POST /peer/stand", g.serveStand)
	mux.HandleFunc("POST /peer/report", g.serveReport)
	mux.HandleFunc("POST /peer/planned", g.servePlanned)
	mux.HandleFunc("GET /peer/manifest/{digest}", func(w http.ResponseWriter, r *http.Request) {
		g.serveBlob(w, r.PathValue("digest"), g.checks.ManifestBytes)
	})
	mux.HandleFunc("GET /peer/chunk/{digest}", func(w http.ResponseWriter, r *http.Request) {
		g.serveBlob(w, r.PathValue("digest"), g.checks.Chunk)
	})
	mux.HandleFunc("GET /peer/links", g.serveLinks)
	mux.HandleFunc("GET /peer/record", g.serveRecord)
	mux.HandleFunc("GET /peer/outputs", g.serveOutputs)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if h := g.api.Load(); h != nil {
			(*h).ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	})
	return mux
}

func number(r *http.Request, name string) uint64 {
	n, _ := strconv.ParseUint(r.FormValue(name), 10, 64)
	return n
}

func (g *Group) servePosition(w http.ResponseWriter, r *http.Request) {
	seq := number(r, "seq")
	wait := time.Duration(min(number(r, "wait_ms"), 60_000)) * time.Millisecond
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for {
		changed := g.changed.wait()
		pos := g.position(seq)
		if pos.Seq >= seq {
			writeJSON(w, pos)
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			writeJSON(w, pos)
			return
		case <-r.Context().Done():
			return
		case <-g.ctx.Done():
			http.Error(w, "this member is stopping", http.StatusServiceUnavailable)
			return
		}
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// serveReport takes a standby's sync report into the log. The report must be
// about the member that sent it.
func (g *Group) serveReport(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPeerJSON))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	rep, err := fsm.ParseReport(data)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	from, ok := r.Context().Value(peerKey{}).(peernet.Identity)
	if !ok || rep.Member != from.Member || rep.StoreID != from.StoreID {
		http.Error(w, "a member reports only for itself", http.StatusForbidden)
		return
	}
	n := g.node.Load()
	if n == nil {
		http.Error(w, "starting", http.StatusMisdirectedRequest)
		return
	}
	a := n.active.Load()
	if a == nil {
		http.Error(w, "not active", http.StatusMisdirectedRequest)
		return
	}
	switch err := a.report(r.Context(), rep); {
	case errors.Is(err, ErrNotActive):
		http.Error(w, err.Error(), http.StatusMisdirectedRequest)
	case errors.Is(err, errNotAccepted):
		// About a checkpoint that is no longer kept: nothing is left to report.
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

func (g *Group) servePlanned(w http.ResponseWriter, r *http.Request) {
	var notice plannedNotice
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPeerJSON)).Decode(&notice); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if n := g.node.Load(); n != nil {
		n.planned.Store(&notice)
	}
}

func (g *Group) serveBlob(w http.ResponseWriter, digest string, get func(chain.Hash) ([]byte, error)) {
	h, err := chain.ParseHash(digest)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	data, err := get(h)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Write(data)
}

func (g *Group) serveLinks(w http.ResponseWriter, r *http.Request) {
	from, n := number(r, "from"), min(number(r, "n"), maxPeerBatch)
	g.archive.reach(from + n)
	size := g.hist.Size()
	for seq := from; seq < from+n && seq < size; seq++ {
		l, err := g.hist.Link(seq)
		if err != nil {
			if seq == from {
				http.Error(w, err.Error(), http.StatusNotFound)
			}
			return
		}
		b := l.Bytes()
		if _, err := w.Write(b[:]); err != nil {
			return
		}
	}
}

func (g *Group) serveRecord(w http.ResponseWriter, r *http.Request) {
	seq := number(r, "seq")
	g.archive.reach(seq + 1)
	rec, err := g.hist.Record(seq)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Write(rec)
}

func (g *Group) serveOutputs(w http.ResponseWriter, r *http.Request) {
	from := number(r, "from")
	outs, err := g.storedOutputs(from, int(min(number(r, "n"), maxPeerBatch)))
	if errors.Is(err, durable.ErrDamaged) {
		select {
		case g.missed <- from: // the others may need just this
		default:
		}
	}
	var pruned *PrunedError
	switch {
	case errors.As(err, &pruned):
		w.Header().Set("X-Understudy-Oldest", strconv.FormatUint(pruned.Oldest, 10))
		http.Error(w, err.Error(), http.StatusGone)
	case err != nil:
		http.Error(w, err.Error(), http.StatusNotFound)
	default:
		writeJSON(w, outs)
	}
}

// peerKey finds the authenticated peer in a request's context.
type peerKey struct{}
