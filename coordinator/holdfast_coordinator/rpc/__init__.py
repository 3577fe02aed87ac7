"""The gRPC services: validate, translate, call the engine, translate back. No decisions in here."""
