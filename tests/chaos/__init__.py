"""Faults on purpose between real processes, the evidence that they landed, and what may come of them."""
