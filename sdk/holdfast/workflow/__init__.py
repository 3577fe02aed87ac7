"""The workflow runtime: runs workflow code on a deterministic loop, fed by journal entries. Pure.

No clock, no randomness, no sockets, no threads, no protobuf: everything comes in as entries and goes out as commands.
"""
