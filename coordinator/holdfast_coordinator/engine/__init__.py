"""The use cases: who gets work, what is written in which order, who is told. Knows neither SQL nor gRPC."""
