"""The pure core: what a command does to a run. No clock, ids, randomness, SQL, gRPC or protobuf in here."""
