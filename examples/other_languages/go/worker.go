// A worker for queued steps: takes attempts, runs them, reports how they ended. Workflows stay with workers in Python.

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "example/holdfast/api/v1"
)

// steps are the steps that this worker knows. `ctx` ends when the result is not wanted any more; `key` is the same in
// every attempt of a step.
var steps = map[string]func(ctx context.Context, key string, arguments []*apiv1.Payload) (any, error){
	"draw_cover": func(ctx context.Context, key string, arguments []*apiv1.Payload) (any, error) {
		var title string
		var seconds float64
		if err := decode(arguments, &title, &seconds); err != nil {
			return nil, permanent{err}
		}
		if title == "" {
			return nil, errors.New("the title is empty")
		}
		select {
		case <-time.After(time.Duration(seconds * float64(time.Second))):
			return title + ", drawn by go", nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	},
}

// permanent is a failure that no repeat would mend.
type permanent struct{ error }

const (
	slots   = 10 // attempts at once
	retries = 3  // of steps whose caller asks for no other number
	build   = "1"
)

func work(queue string) error {
	w := &worker{queue: queue, slots: make(chan struct{}, slots), held: map[key]*holding{}}
	if err := w.attach(nil, nil); err != nil {
		return err
	}
	go w.forever(w.heartbeat())
	go w.forever(w.poll())
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	<-stop.Done()
	w.attaching.Lock() // for good: what fails from now on opens no session
	s := w.current()
	request := &apiv1.CloseSessionRequest{SessionId: s.SessionId, AttachNo: s.AttachNo}
	if _, err := within(2*time.Second, request, s.service.CloseSession); err != nil {
		fmt.Println("the session ends by its time limit:", err)
	}
	return nil
}

// run makes an attempt and reports it until that is answered, or until nobody wants it any more and `ctx` ends.
func (w *worker) run(ctx context.Context, attempt *apiv1.QueuedAttempt) {
	defer func() { <-w.slots }()
	what, began := fmt.Sprintf("step %d of %s:", attempt.Step, attempt.RunId), time.Now()
	fmt.Println(what, "attempt", attempt.Attempt, "begins")
	result, err := w.result(ctx, attempt)
	report := reportOf(attempt, time.Since(began), result, err)
	report.Record.SessionId = w.current().SessionId
	for ctx.Err() == nil {
		w.insist(func(s *session) error {
			if ctx.Err() != nil {
				return nil
			}
			request := &apiv1.ReportRequest{
				SessionId: s.SessionId, AttachNo: s.AttachNo, Attempts: []*apiv1.AttemptReport{report},
			}
			answer, err := within(10*time.Second, request, s.service.Report)
			if err != nil {
				return err
			}
			switch answer := answer.Attempts[0]; {
			case answer.Busy:
				time.Sleep(200 * time.Millisecond)
				return nil
			case answer.Recorded:
				fmt.Println(what, "recorded")
			default:
				fmt.Println(what, cmp.Or(answer.Refusal, "not wanted any more"))
			}
			w.drop(heldOf(attempt))
			return nil
		})
	}
}

func (w *worker) result(ctx context.Context, attempt *apiv1.QueuedAttempt) (*apiv1.Payload, error) {
	if attempt.Failures > retriesOf(attempt) {
		// The attempts before ran past their limit: the coordinator ended them, and we are to decide.
		return nil, permanent{errors.New("no attempt was done within its time limit")}
	}
	idempotencyKey := fmt.Sprintf("%s/%d", cmp.Or(attempt.Seed, attempt.RunId), attempt.Step)
	value, err := steps[attempt.Name](ctx, idempotencyKey, attempt.Arguments.GetPositional())
	if err != nil {
		return nil, err
	}
	result, err := encoded(value)
	if err != nil {
		return nil, permanent{err}
	}
	if int64(len(result.Data)) > w.current().Limits.PayloadBytes {
		return nil, permanent{errors.New("the result is too large")}
	}
	return result, nil
}

func retriesOf(attempt *apiv1.QueuedAttempt) int32 {
	if attempt.Retry != nil {
		return attempt.Retry.Retries
	}
	return retries
}

// reportOf says what the attempt was granted with, and how it ended.
func reportOf(attempt *apiv1.QueuedAttempt, took time.Duration, result *apiv1.Payload, err error) *apiv1.AttemptReport {
	record := &apiv1.AttemptRecord{
		Attempt: attempt.Attempt, Epoch: attempt.Epoch, Build: build,
		ScheduledAt: attempt.ScheduledAt, EligibleAt: attempt.EligibleAt, StartedAt: attempt.StartedAt,
		EndedAt: timestamppb.New(attempt.StartedAt.AsTime().Add(took)), // by the database's clock, whatever ours says
		Outcome: apiv1.AttemptOutcome_ATTEMPT_OUTCOME_COMPLETED,
	}
	if err != nil {
		record.Outcome = apiv1.AttemptOutcome_ATTEMPT_OUTCOME_FAILED_FINAL
		record.Failure = &apiv1.Failure{ErrorType: fmt.Sprintf("%T", err), Message: err.Error()}
		if !errors.As(err, new(permanent)) && attempt.Failures < retriesOf(attempt) {
			record.Outcome = apiv1.AttemptOutcome_ATTEMPT_OUTCOME_FAILED_RETRYABLE
			record.RetryDelay = attempt.Retry.GetConstant()
			if record.RetryDelay == nil {
				record.RetryDelay = durationpb.New(min(time.Second<<min(attempt.Failures, 10), 5*time.Minute))
			}
		}
	}
	return &apiv1.AttemptReport{
		RunId: attempt.RunId, Step: attempt.Step, Attempt: attempt.Attempt, Epoch: attempt.Epoch,
		Record: record, Result: result,
	}
}
