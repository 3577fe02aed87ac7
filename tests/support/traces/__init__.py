"""What real runs look like in a backend for traces: the same scenarios and assertions for any backend."""
