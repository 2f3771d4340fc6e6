"""Real faults: the platform's processes on real servers, with a fault proxy on every link, and judges at the end.

What the simulation asks of a model this asks of the thing itself. Invariant: one seed gives one list of faults; the
product knows nothing of any of them.
"""
