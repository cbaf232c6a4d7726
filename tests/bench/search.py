"""A directory client that does nothing but search: one LDAP connection, one search as soon as the last one is answered,
but at most PER_S a second.

Goes on where speak.py ends.
usage: search.py HOST PORT SUFFIX PER_S (people have employeeNumber 1 to 1000)
"""

import sys
import time

from ldap3 import ALL_ATTRIBUTES, SUBTREE, Connection, Server

HOST, PORT, SUFFIX, PER_S = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
connection = Connection(Server(HOST, port=PORT, get_info="NO_INFO"), receive_timeout=60, raise_exceptions=True)
connection.bind()
say("connected", local="%s:%d" % connection.socket.getsockname()[:2])
number = 0
due = time.monotonic()
while not stop.wait(max(0, due - time.monotonic())):
    start = time.monotonic()
    due = max(due + 1 / PER_S, start)
    connection.search(SUFFIX, "(employeeNumber=%d)" % (number % 1000 + 1), SUBTREE, attributes=ALL_ATTRIBUTES)
    ms = (time.monotonic() - start) * 1000
    if len(connection.entries) != 1:
        sys.exit("%d people have one number" % len(connection.entries))
    number += 1
    say("done", operation="search", ms=round(ms, 3))
say("checked", transactions=number, acknowledged=0, found=0, connections_broken=0)
connection.unbind()
