"""The stand-in's ports: HTTP, sockets, events, and how they break."""
