"""SIM: a whole cluster in virtual time from one seed, with faults, and checkers that tell whether its promises were kept.

    loop.py       virtual time, and threads of which one runs at a time
    env.py        clock, dice and threads of one program      disk.py      a disk that may be slow, and forgets what was not synced
    servers.py    the log servers as their clients see them   network.py   messages that come late or not at all
    world.py      nodes, clients and faults, and what becomes of them
    clients.py    what clients do, and what they may expect   checks.py    what must be so in the end

In: a seed. Out: a Report. Nodes, routers and logs are the real ones; what they stand on is simulated. `cli` and tests import this package.
"""
