"""What every client program begins with: it says what it did, one JSON object a line, {"event": ..., ...}, and ends its work
when its standard input ends: `stop` is set then.
"""

import json
import sys
import threading

stop = threading.Event()


def say(event, **details):
    print(json.dumps({"event": event, **details}), flush=True)


def wait_for_the_end():
    sys.stdin.read()
    stop.set()


threading.Thread(target=wait_for_the_end, daemon=True).start()
