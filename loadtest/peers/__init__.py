"""Sherd beside its peers, on one machine, in alternation: see ``compare.py`` and README.md.

Data flows one way: a *section* (``server_section``, ``engine_section``, ...) measures *subjects* (a server, an engine,
a client) round by round and gives ``Row``s; ``targets`` judges rows, ``report`` and ``plots`` show them.
"""
