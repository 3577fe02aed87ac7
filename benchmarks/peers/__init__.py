"""holdfast beside other engines: the same work on the same machine, in turns. `make bench-peers` begins in __main__.py.

ratios.py and table.py say what comes out; cases.py what is measured; compare.py when. engines.py is what any engine
looks like to them; dbos.py and restate.py start their engines, whose own code is in the modules named *_work and
*_service: these run in virtual environments of their own and know nothing of holdfast.
"""
