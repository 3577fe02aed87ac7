"""The way to the coordinator: connections, calls, and the translation between records and messages.

The only package of the SDK that imports grpc; beside it only `wire` imports protobuf. It decides nothing about runs: it
carries what the client and the worker say, repeats what may be repeated, and turns refusals into typed errors.
"""
