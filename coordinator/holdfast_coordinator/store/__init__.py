"""The store: the only place that knows SQL. Reads and locks rows, hands them to the core, writes the difference."""
