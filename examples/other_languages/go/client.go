package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "example/holdfast/api/v1"
)

// answered makes a call until it is answered. Its request has an id, chosen before, by which repeats are known as one.
func answered[Response any](name string, call func() (Response, error)) (Response, error) {
	for repeat := 0; ; repeat++ {
		answer, err := call()
		if err == nil || !isPassing(err) {
			return answer, err
		}
		if repeat == 0 {
			fmt.Fprintln(os.Stderr, name, "is repeated:", err)
		}
		pause(repeat)
	}
}

// newStartID is a ULID in lower case: 48 bits of milliseconds, 80 random bits, in Crockford's base 32.
func newStartID() string {
	low := make([]byte, 10)
	rand.Read(low)
	bits := new(big.Int).Lsh(big.NewInt(time.Now().UnixMilli()), 80)
	bits.Or(bits, new(big.Int).SetBytes(low))
	// The digits of base 32 as Go writes them, 0-9 and a-v, in those of Crockford, which leave out i, l, o and u.
	text := strings.NewReplacer("i", "j", "j", "k", "k", "m", "l", "n", "m", "p", "n", "q", "o", "r", "p", "s",
		"q", "t", "r", "v", "s", "w", "t", "x", "u", "y", "v", "z").Replace(bits.Text(32))
	return strings.Repeat("0", 26-len(text)) + text
}

func startAndWait(workflow, arguments string) error {
	connection := connect()
	defer connection.Close()
	runs := apiv1.NewRunServiceClient(connection)
	var values []any
	if err := json.Unmarshal([]byte(arguments), &values); err != nil {
		return err
	}
	spec := &apiv1.StartSpec{StartId: newStartID(), Workflow: workflow, Arguments: &apiv1.Arguments{}}
	for _, value := range values {
		payload, err := encoded(value)
		if err != nil {
			return err
		}
		hash := sha256.Sum256(payload.Data)
		payload.ContentSha256 = hash[:]
		spec.Arguments.Positional = append(spec.Arguments.Positional, payload)
	}
	started, err := answered("StartRun", func() (*apiv1.StartRunResponse, error) {
		return within(10*time.Second, &apiv1.StartRunRequest{Start: spec}, runs.StartRun)
	})
	if err != nil {
		return err
	}
	fmt.Println("started", started.Run.RunId)
	waiting := &apiv1.WaitRunsRequest{RunIds: []string{started.Run.RunId}, Wait: durationpb.New(30 * time.Second)}
	for {
		answer, err := answered("WaitRuns", func() (*apiv1.WaitRunsResponse, error) {
			return within(40*time.Second, waiting, runs.WaitRuns)
		})
		if err != nil {
			return err
		}
		if len(answer.Closed) == 0 {
			continue // the wait has passed
		}
		closed := answer.Closed[0]
		if closed.Status != apiv1.RunStatus_RUN_STATUS_COMPLETED {
			return fmt.Errorf("%v: %s: %s", closed.Status, closed.GetFailure().GetErrorType(), closed.GetFailure().GetMessage())
		}
		fmt.Printf("result %s\n", closed.Result.GetData())
		return nil
	}
}

func signalRun(run, name, value string) error {
	connection := connect()
	defer connection.Close()
	runs := apiv1.NewRunServiceClient(connection)
	request := &apiv1.SignalRunRequest{
		Run: run, RequestId: newStartID(),
		Signal: &apiv1.Signal{Name: name, Payload: &apiv1.Payload{Data: []byte(value)}},
	}
	_, err := answered("SignalRun", func() (*apiv1.SignalRunResponse, error) {
		return within(10*time.Second, request, runs.SignalRun)
	})
	if err == nil {
		fmt.Println("signalled")
	}
	return err
}
