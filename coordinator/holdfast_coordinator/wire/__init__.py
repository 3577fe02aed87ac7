"""Protobuf messages from and to the rows of the core. Only this package and rpc know the generated code."""
