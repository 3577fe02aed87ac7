"""`holdfast bench`: how fast this machine can go at all, and how fast holdfast goes on it. Start at command.py."""
