"""The console: pages about members, points and money for a browser on this machine, read-only."""
