"""Named readers: their file, the wire, the room, and the server as the command starts it."""
