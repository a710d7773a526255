"""The stand-in's transport: HTTP, sockets, events and their failures."""
