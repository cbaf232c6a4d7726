"""A directory client for the demo: one LDAP connection, one transaction after the other, never a second connection.

Goes on where speak.py ends.
usage: ldap.py HOST PORT SUFFIX WRITABLE BIND_DN PASSWORD (people have employeeNumber 1 to 1000, WRITABLE takes new entries)
Prints one JSON object a line: {"event": "connected" | "done" | "broken" | "checked", ...}. Ends its work when its standard
input ends, then reads every acknowledged write back over the same connection and says which were not found.
"""

import sys
import time

from ldap3 import ALL_ATTRIBUTES, BASE, MODIFY_REPLACE, SUBTREE, Connection, Server
from ldap3.core.exceptions import LDAPException

HOST, PORT = sys.argv[1], int(sys.argv[2])
SUFFIX, WRITABLE, BIND_DN, PASSWORD = sys.argv[3:7]
PATIENCE_S = 60
PAUSE_S = 0.02


def main():
    server = Server(HOST, port=PORT, connect_timeout=10, get_info="NO_INFO")
    connection = Connection(
        server, user=BIND_DN, password=PASSWORD, receive_timeout=PATIENCE_S, raise_exceptions=True, auto_referrals=False
    )
    connection.bind()
    say("connected", local="%s:%d" % connection.socket.getsockname()[:2])
    acknowledged = {}
    asked = 0
    try:
        while not stop.is_set():
            number = asked
            asked += 1
            start = time.monotonic()
            operation = work(connection, number, acknowledged)
            say("done", operation=operation, ms=round((time.monotonic() - start) * 1000, 3))
            time.sleep(PAUSE_S)
        missing = check(connection, acknowledged)
        say("checked", transactions=asked, acknowledged=len(acknowledged), found=len(acknowledged) - len(missing),
            missing=missing[:5], connections_broken=0)
        connection.unbind()
    except (LDAPException, OSError) as error:
        say("broken", transactions=asked, acknowledged=len(acknowledged), reason="%s: %s" % (type(error).__name__, error))
        sys.exit(1)


def work(connection, number, acknowledged):
    """One transaction. Of four, one adds a person, one changes a person, two search."""
    name = "demo-%06d" % (number // 4 * 4)
    dn = "cn=%s,%s" % (name, WRITABLE)
    match number % 4:
        case 0:
            connection.add(dn, ["inetOrgPerson"], {"sn": "Demo", "description": "written as %d" % number})
            acknowledged[dn] = "written as %d" % number
            return "add"
        case 1:
            value = "changed as %d" % number
            connection.modify(dn, {"description": [(MODIFY_REPLACE, [value])]})
            acknowledged[dn] = value
            return "modify"
        case 2:
            connection.search(dn, "(objectClass=*)", BASE, attributes=["description"])
            found = [str(entry.description) for entry in connection.entries]
            if found != [acknowledged[dn]]:
                raise OSError("%s is %s, not %r" % (dn, found, acknowledged[dn]))
            return "read"
        case _:
            connection.search(SUFFIX, "(employeeNumber=%d)" % (number % 1000 + 1), SUBTREE, attributes=ALL_ATTRIBUTES)
            if len(connection.entries) != 1:
                raise OSError("%d people have one number" % len(connection.entries))
            return "search"


def check(connection, acknowledged):
    pages = connection.extend.standard.paged_search(
        WRITABLE, "(objectClass=inetOrgPerson)", SUBTREE, attributes=["description"], paged_size=500, generator=True
    )
    found = {page["dn"]: "".join(page["attributes"]["description"]) for page in pages if "dn" in page}
    return [dn for dn, value in acknowledged.items() if found.get(dn) != value]


main()
