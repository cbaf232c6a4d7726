"""A mail client for the demo: one SMTP connection, one message after the other, each sent slowly in many packets.

Goes on where speak.py ends.
usage: mail.py HOST PORT SENDER RECIPIENT [SIZE ...]
Sizes in bytes are taken in turn. Prints one JSON object a line: {"event": "connected" | "done" | "broken" | "checked", ...}.
"done" names a message that the server accepted: its Message-ID, length and SHA-256 as it was sent. Ends after the message
under way when its standard input ends.
"""

import hashlib
import smtplib
import sys
import time

HOST, PORT, SENDER, RECIPIENT = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
SIZES = [int(size) for size in sys.argv[5:]] or [10_000, 100_000, 1_000_000, 5_000_000]
PATIENCE_S = 120
CHUNK_BYTES = 32_768
CHUNK_PAUSE_S = 0.005


def message(number, size):
    """A message of about `size` bytes with CRLF line ends; no line begins with a dot."""
    identity = "<%d.%d@client.example>" % (number, time.time_ns())
    head = (
        "From: <%s>\r\nTo: <%s>\r\nSubject: message %d\r\nMessage-ID: %s\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n\r\n" % (SENDER, RECIPIENT, number, identity)
    )
    lines = [head]
    length = len(head)
    line = 0
    while length < size:
        word = hashlib.sha256(b"%d %d" % (number, line)).hexdigest()
        lines.append("%06d %s\r\n" % (line, word))
        length += len(lines[-1])
        line += 1
    return identity, "".join(lines).encode("ascii")


def send(client, number, size):
    identity, body = message(number, size)
    for code, reply in (client.mail(SENDER, ["SIZE=%d" % len(body)]), client.rcpt(RECIPIENT)):
        if code // 100 != 2:
            raise smtplib.SMTPResponseException(code, reply)
    code, reply = client.docmd("DATA")
    if code != 354:
        raise smtplib.SMTPResponseException(code, reply)
    for start in range(0, len(body), CHUNK_BYTES):
        client.sock.sendall(body[start : start + CHUNK_BYTES])
        time.sleep(CHUNK_PAUSE_S)
    client.sock.sendall(b".\r\n")
    code, reply = client.getreply()
    return code, reply, identity, body


def main():
    asked = accepted = refused = 0
    try:
        client = smtplib.SMTP(HOST, PORT, local_hostname="client.example", timeout=PATIENCE_S)
        client.ehlo_or_helo_if_needed()
        say("connected", local="%s:%d" % client.sock.getsockname()[:2])
        while not stop.is_set():
            size = SIZES[asked % len(SIZES)]
            start = time.monotonic()
            code, reply, identity, body = send(client, asked, size)
            asked += 1
            ms = round((time.monotonic() - start) * 1000, 3)
            if code // 100 == 2:
                accepted += 1
                digest = hashlib.sha256(body).hexdigest()
                say("done", operation="%d kB" % (len(body) // 1000), ms=ms, id=identity, bytes=len(body), sha256=digest)
            else:
                refused += 1
                say("refused", ms=ms, id=identity, reply="%d %s" % (code, reply.decode("ascii", "replace")))
        client.quit()
        say("checked", transactions=asked, acknowledged=accepted, refused=refused, connections_broken=0)
    except (smtplib.SMTPException, OSError) as error:
        say("broken", transactions=asked, acknowledged=accepted, reason="%s: %s" % (type(error).__name__, error))
        sys.exit(1)


main()
