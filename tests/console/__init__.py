"""The console, asked over HTTP and looked at in a browser; the analysts' guide."""
