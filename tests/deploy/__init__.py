"""The files under deploy/, proven without a container engine or a cluster."""
