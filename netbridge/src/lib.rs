//! The edge's I/O without an async runtime: TAP devices, ARP, what is let in, who lets out, captures.
