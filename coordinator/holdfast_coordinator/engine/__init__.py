"""The use cases: who gets work, what is written in which order, what is sent to whom. Without SQL and gRPC."""
