"""Documents, deployment files and help texts held against the code."""
