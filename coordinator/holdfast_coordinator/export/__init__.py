"""Exports the spans of committed entries: at once from memory, later from the journal. Never slows down a commit."""
