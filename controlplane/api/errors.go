package api

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"baton/controlplane/model"
	"baton/controlplane/openflow"
	"baton/controlplane/store"
)

// Error is a call that failed.
type Error struct {
	Code     codes.Code
	Text     string
	Problems model.Problems // with places; empty if the error is not about documents
}

// Error is one line for each problem, or the text.
func (e *Error) Error() string {
	if len(e.Problems) > 0 {
		return e.Problems.Error()
	}
	return e.Text
}

// Is makes errors.Is work with the store's errors across the wire.
func (e *Error) Is(target error) bool {
	switch target {
	case store.ErrNotFound:
		return e.Code == codes.NotFound
	case store.ErrInUse:
		return e.Code == codes.FailedPrecondition
	case store.ErrUnreachable:
		return e.Code == codes.Unavailable
	}
	return false
}

// maxDetails bounds the details of one status: gRPC sends them in a header.
const maxDetails = 32

// toStatus is err as a status that fromStatus can read.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	var problems model.Problems
	if errors.As(err, &problems) {
		return problemStatus(problems)
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	code := codes.Internal
	switch {
	case errors.Is(err, store.ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, store.ErrInUse):
		code = codes.FailedPrecondition
	case errors.Is(err, store.ErrConflict):
		code = codes.Aborted
	case errors.Is(err, store.ErrUnreachable), errors.Is(err, store.ErrClosed):
		code = codes.Unavailable
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	return status.Error(code, err.Error())
}

func problemStatus(ps model.Problems) error {
	first := ps[:min(len(ps), maxDetails)]
	text := first.Error()
	if more := len(ps) - len(first); more > 0 {
		text += "\nand more: correct these first"
	}
	st := status.New(codes.InvalidArgument, text)
	details := make([]protoadapt.MessageV1, len(first))
	for i, p := range first {
		details[i] = protoadapt.MessageV1Of(&ErrorDetail{
			File: p.Pos.File, Line: int32(p.Pos.Line), Object: encodeRef(p.Ref), Other: encodeRef(p.Other),
			Field: p.Field, Message: p.Text,
		})
	}
	with, err := st.WithDetails(details...)
	if err != nil {
		return st.Err()
	}
	return with.Err()
}

// fromStatus is a call's error for people, always an *Error.
func fromStatus(address string, err error) error {
	if err == nil {
		return nil
	}
	st, _ := status.FromError(err)
	e := &Error{Code: st.Code(), Text: st.Message()}
	for _, d := range st.Details() {
		if p, ok := d.(*ErrorDetail); ok {
			e.Problems = append(e.Problems, model.Problem{
				Pos: model.Pos{File: p.File, Line: int(p.Line)}, Ref: decodeRef(p.Object), Other: decodeRef(p.Other),
				Field: p.Field, Text: p.Message,
			})
		}
	}
	if e.Code != codes.Unavailable {
		return e
	}
	cause, fix := openflow.ConnectionCause(e.Text)
	if fix == "" && strings.Contains(e.Text, "connection error") {
		fix = "start baton-controller, or name its address with --server"
	}
	if fix != "" {
		e.Text = "controller " + address + " cannot be reached: " + cause + ": " + fix
	}
	return e
}

func encodeRef(r model.Ref) *ObjectRef {
	if r == (model.Ref{}) {
		return nil
	}
	return &ObjectRef{Kind: string(r.Kind), Name: r.Name}
}

func decodeRef(r *ObjectRef) model.Ref {
	return model.Ref{Kind: model.Kind(r.GetKind()), Name: r.GetName()}
}

func encodeRefs(rs []model.Ref) []*ObjectRef {
	all := make([]*ObjectRef, len(rs))
	for i, r := range rs {
		all[i] = encodeRef(r)
	}
	return all
}
