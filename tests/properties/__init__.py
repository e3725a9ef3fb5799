"""Properties of the pure core over invented histories, against a slow model written independently of it."""
