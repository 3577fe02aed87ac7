"""Protobuf messages from and to the rows of the core. Only this package and rpc import the generated code."""
