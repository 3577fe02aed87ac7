"""How large a deployment must be: a model, the measurements that it is checked against, and a simulated fleet.

`python -m benchmarks.capacity` answers for a wanted load; docs/capacity.md says what it rests on. model.py and
simulation.py are pure; measure.py runs real processes.
"""
