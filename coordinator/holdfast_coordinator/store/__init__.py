"""The store: the only place with SQL. Reads and locks rows, hands them to the core, writes the difference."""
