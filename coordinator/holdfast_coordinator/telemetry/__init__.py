"""The journal is the trace: skeleton spans as a pure function of committed entries, and their form on the wire.

Nothing in here reads a clock, draws an id or does I/O; who exports what and when is decided elsewhere.
"""
