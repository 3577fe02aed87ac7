"""What a replica does by itself, again and again: each loop is one `run_once` and a schedule."""
