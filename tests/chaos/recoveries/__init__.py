"""How soon things go on after a process was killed, many times over. Start at harness.py."""
