// The session of a worker: it is opened, kept alive, asked for work, and opened again when the connection is lost.

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	apiv1 "example/holdfast/api/v1"
)

// worker has a session and what it holds.
//
// One rule is enough to outlive whatever happens to the connection: after any call that failed, connect anew, open the
// session again with all that is held, and make the call again. What the session lost, the coordinator says.
type worker struct {
	queue     string
	slots     chan struct{} // an element for each attempt that runs
	attaching sync.Mutex    // while the session is opened

	sync.Mutex       // guards what follows
	connection       *grpc.ClientConn
	session          *session
	held             map[key]*holding
	received         []*apiv1.Held
	surelyAliveUntil time.Time
}

// session is what OpenSession answered, over the connection on which it did. It is not changed.
type session struct {
	*apiv1.OpenSessionResponse
	service apiv1.WorkerServiceClient
}

type key struct {
	run  string
	step int32
}

type holding struct {
	*apiv1.QueuedAttempt
	cancel context.CancelFunc
}

// attach connects anew and opens the session again, unless that was done since it was `before`. why: a call failed.
func (w *worker) attach(before *session, why error) error {
	w.attaching.Lock()
	defer w.attaching.Unlock()
	if w.current() != before {
		return nil
	}
	if why != nil {
		fmt.Println("cut off:", why)
	}
	host, _ := os.Hostname()
	request := &apiv1.OpenSessionRequest{
		Queue: w.queue, Steps: slices.Collect(maps.Keys(steps)),
		Build: build, Host: host, Pid: int32(os.Getpid()), Slots: slots,
	}
	if before != nil {
		request.SessionId = before.SessionId
	}
	for repeat := 0; ; repeat++ {
		if w.connection != nil {
			w.connection.Close() // calls that are open fail
		}
		w.connection = connect()
		service := apiv1.NewWorkerServiceClient(w.connection)
		request.Held = w.holdings()
		sent := time.Now()
		opened, err := within(10*time.Second, request, service.OpenSession)
		switch {
		case err == nil:
			w.drop(opened.Ended...)
			w.Lock()
			w.session, w.received = &session{opened, service}, nil
			w.surelyAliveUntil = sent.Add(opened.Ttl.AsDuration() - time.Second)
			w.Unlock()
			fmt.Println("session", opened.SessionId, "is open")
			return nil
		case before == nil && !isPassing(err):
			return err
		case reason(err) == "SESSION_EXPIRED": // its work is with others by now
			w.drop(request.Held...)
			request.SessionId = ""
		}
		pause(repeat)
	}
}

func (w *worker) current() *session {
	w.Lock()
	defer w.Unlock()
	return w.session
}

// insist makes a call until it succeeds. The session is opened again once for all calls that fail together.
func (w *worker) insist(call func(*session) error) {
	for repeat := 0; ; repeat++ {
		s := w.current()
		err := call(s)
		if err == nil {
			return
		}
		w.attach(s, err)
		pause(repeat)
	}
}

func (w *worker) forever(call func(*session) error) {
	for {
		w.insist(call)
	}
}

func (w *worker) heartbeat() func(*session) error {
	var msgNo int64
	return func(s *session) error {
		msgNo++
		sent, ttl := time.Now(), s.Ttl.AsDuration()
		request := &apiv1.HeartbeatRequest{SessionId: s.SessionId, AttachNo: s.AttachNo, MsgNo: msgNo, Held: w.holdings()}
		answer, err := within(ttl/2, request, s.service.Heartbeat)
		if err != nil {
			return err
		}
		w.Lock()
		w.surelyAliveUntil = sent.Add(ttl - time.Second)
		w.Unlock()
		w.drop(answer.Ended...)
		time.Sleep(time.Until(sent.Add(s.HeartbeatInterval.AsDuration())))
		return nil
	}
}

func (w *worker) poll() func(*session) error {
	var msgNo int64
	return func(s *session) error {
		// Without a free slot there is nothing to ask for; heartbeats say what ends meanwhile.
		w.slots <- struct{}{}
		<-w.slots
		msgNo++
		request := &apiv1.PollRequest{
			SessionId: s.SessionId, AttachNo: s.AttachNo, MsgNo: msgNo, FreeSlots: int32(slots - len(w.slots)),
		}
		w.Lock()
		request.Received = w.received
		w.Unlock()
		answer, err := within(s.PollWait.AsDuration()+5*time.Second, request, s.service.Poll)
		if err != nil {
			return err
		}
		w.Lock()
		w.received = nil
		isAlive := time.Now().Before(w.surelyAliveUntil)
		w.Unlock()
		for _, notice := range answer.Notices {
			if notice.Ended || notice.Cancelled {
				w.drop(notice.Held)
			}
		}
		if !isAlive {
			return errors.New("no heartbeat was answered for too long")
		}
		for _, attempt := range answer.Attempts {
			if ctx := w.take(s, attempt); ctx != nil {
				w.slots <- struct{}{}
				go w.run(ctx, attempt)
			}
		}
		return nil
	}
}

// take holds an attempt from now on. nil: it is held already, or it was granted to a session of before.
func (w *worker) take(s *session, attempt *apiv1.QueuedAttempt) context.Context {
	w.Lock()
	defer w.Unlock()
	if w.session != s {
		return nil
	}
	w.received = append(w.received, heldOf(attempt))
	if before := w.held[keyOf(attempt)]; before != nil {
		if before.Epoch == attempt.Epoch {
			return nil // handed out once more
		}
		before.cancel()
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.held[keyOf(attempt)] = &holding{attempt, cancel}
	return ctx
}

// What is held

func keyOf(one interface {
	GetRunId() string
	GetStep() int32
}) key {
	return key{one.GetRunId(), one.GetStep()}
}

func heldOf(attempt *apiv1.QueuedAttempt) *apiv1.Held {
	return &apiv1.Held{RunId: attempt.RunId, Step: attempt.Step, Epoch: attempt.Epoch}
}

func (w *worker) holdings() (all []*apiv1.Held) {
	w.Lock()
	defer w.Unlock()
	for _, one := range w.held {
		all = append(all, heldOf(one.QueuedAttempt))
	}
	return all
}

// drop holds some no longer: they are reported, cancelled, or with another worker.
func (w *worker) drop(gone ...*apiv1.Held) {
	w.Lock()
	defer w.Unlock()
	for _, one := range gone {
		if found := w.held[keyOf(one)]; found != nil && found.Epoch == one.Epoch {
			found.cancel()
			delete(w.held, keyOf(one))
		}
	}
}
