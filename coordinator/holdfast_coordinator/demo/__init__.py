"""`holdfast demo`: audits the Python distributions of this machine, durably, with a worker killed half-way.

`audit` is what a user would write; `driver` runs it, `direct` computes the same without holdfast, `report`
compares and prints. Only the command line may import from here.
"""
