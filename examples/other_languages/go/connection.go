// Client and worker in Go, from the .proto files alone: a start, a wait, a signal, and steps of a Python workflow.
//
//	go generate && go build -o holdfast-go .
//	./holdfast-go worker go
//	./holdfast-go start publish '["Dune", "go"]'
//	./holdfast-go signal run_... approval true
package main

//go:generate buf generate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	apiv1 "example/holdfast/api/v1"
)

func connect() *grpc.ClientConn {
	connection, err := grpc.NewClient(cmp.Or(os.Getenv("HOLDFAST_ADDRESS"), "localhost:7410"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// gRPC's own two minutes between attempts to connect are longer than a session lives.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)),
	)
	if err != nil {
		panic(err) // an address that makes no sense
	}
	return connection
}

// within makes one call with a limit, for the other side may be gone without a word.
func within[Request, Response any](limit time.Duration, request Request,
	method func(context.Context, Request, ...grpc.CallOption) (Response, error)) (Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return method(ctx, request)
}

// reason says why the coordinator refused a call, "RUN_NOT_FOUND"; "" when the call did not get so far.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == "holdfast.dev" {
			return info.Reason
		}
	}
	return ""
}

// isPassing is true when the same call may succeed later: it was cut off, or the coordinator is busy.
func isPassing(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return true
	}
	return reason(err) == "OVERLOADED"
}

// pause waits before repeat number `repeat`, from 0: up to 0.1 s, then twice as long each time, up to 1 s.
func pause(repeat int) {
	longest := min(100*time.Millisecond<<min(repeat, 10), time.Second)
	time.Sleep(longest/2 + rand.N(longest/2))
}

// encoded is a value as a payload: JSON, in which the keys of maps are sorted and nothing is escaped without need.
func encoded(value any) (*apiv1.Payload, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return &apiv1.Payload{Data: bytes.TrimSuffix(text.Bytes(), []byte("\n"))}, err
}

// decode reads payloads into what `values` point to.
func decode(payloads []*apiv1.Payload, values ...any) error {
	if len(payloads) != len(values) {
		return fmt.Errorf("%d values are expected, not %d", len(values), len(payloads))
	}
	for place, payload := range payloads {
		if encoding := payload.GetEncoding(); encoding != "" && encoding != "json" {
			return errors.New("a payload is encoded as " + encoding)
		}
		if err := json.Unmarshal(payload.GetData(), values[place]); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	words := append(os.Args[1:], "", "", "")
	var err error
	switch words[0] {
	case "worker":
		err = work(cmp.Or(words[1], "default"))
	case "start":
		err = startAndWait(words[1], cmp.Or(words[2], "[]"))
	case "signal":
		err = signalRun(words[1], words[2], cmp.Or(words[3], "null"))
	default:
		err = errors.New("worker QUEUE, or start WORKFLOW ARGUMENTS, or signal RUN NAME VALUE")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
