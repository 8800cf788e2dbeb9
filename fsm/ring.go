package fsm

// ring is a queue that keeps its memory: what is taken off the front makes room
// for what comes.
type ring[T any] struct {
	buf   []T
	first int
	n     int
}

func (r *ring[T]) len() int { return r.n }

// at is the i-th from the front, which must be there.
func (r *ring[T]) at(i int) *T {
	if i += r.first; i >= len(r.buf) {
		i -= len(r.buf)
	}
	return &r.buf[i]
}

func (r *ring[T]) push(v T) {
	if r.n == len(r.buf) {
		buf := make([]T, max(1, 2*r.n))
		k := copy(buf, r.buf[r.first:])
		copy(buf[k:], r.buf[:r.first])
		r.buf, r.first = buf, 0
	}
	r.n++
	*r.at(r.n - 1) = v
}

func (r *ring[T]) pop() T {
	p := r.at(0)
	v := *p
	*p = *new(T) // lets go of what it names
	r.n--
	if r.first++; r.first == len(r.buf) {
		r.first = 0
	}
	return v
}
