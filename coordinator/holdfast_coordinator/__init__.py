"""The coordinator: keeps runs and queues in Postgres and hands work to workers over gRPC."""
